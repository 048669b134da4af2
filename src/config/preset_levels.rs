//! Parameters of presets with a few values, each of which adds something to what those in front of it say.
//!
//! Takes the name of a preset and the value that is written, gives the texts for its placeholders. Data like the presets
//! themselves: `docs/presets.md` shows it.

use super::error::ConfigError;
use super::fields::Fields;

/// Such a parameter of a preset. Its first value is the default.
pub(super) struct Levels {
    preset: &'static str,
    parameter: &'static str,
    values: &'static [&'static str],
    texts: &'static [LevelTexts],
}

/// What a placeholder stands for: the texts of all values up to the one that is written, one behind the other.
struct LevelTexts {
    placeholder: &'static str,
    /// One for each value.
    of_values: &'static [&'static str],
}

const USER_TYPES: &str = "user_types";
const USER_TYPE_VALUES: &[&str] = &["normal", "restricted", "anonymous"];

const LEVELS: &[Levels] = &[
    Levels {
        preset: "stack_auth",
        parameter: USER_TYPES,
        values: USER_TYPE_VALUES,
        texts: &[
            LevelTexts {
                placeholder: "jwks_query",
                of_values: &["", "?include_restricted=true", "&include_anonymous=true"],
            },
            LevelTexts {
                placeholder: "more_issuers",
                of_values: &[
                    "",
                    r#", "{url}/api/v1/projects-restricted-users/{project_id}", "{url_alias}/api/v1/projects-restricted-users/{project_id}""#,
                    r#", "{url}/api/v1/projects-anonymous-users/{project_id}", "{url_alias}/api/v1/projects-anonymous-users/{project_id}""#,
                ],
            },
            LevelTexts {
                placeholder: "more_audiences",
                of_values: &["", r#", "{project_id}:restricted""#, r#", "{project_id}:anon""#],
            },
            LevelTexts {
                placeholder: "users",
                of_values: &[
                    r#"[{ "claim_name": "iss", "string_match": { "suffix": "/api/v1/projects/{project_id}" } }, { "claim_name": "aud", "string_match": { "exact": "{project_id}" } }, { "claim_name": "is_anonymous", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "is_restricted", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "restricted_reason", "present_match": false }]"#,
                    r#", [{ "claim_name": "iss", "string_match": { "suffix": "/api/v1/projects-restricted-users/{project_id}" } }, { "claim_name": "aud", "string_match": { "exact": "{project_id}:restricted" } }, { "claim_name": "is_anonymous", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "is_restricted", "string_match": { "exact": "true" } }, { "claim_name": "restricted_reason", "present_match": true }]"#,
                    r#", [{ "claim_name": "iss", "string_match": { "suffix": "/api/v1/projects-anonymous-users/{project_id}" } }, { "claim_name": "aud", "string_match": { "exact": "{project_id}:anon" } }, { "claim_name": "is_anonymous", "string_match": { "exact": "true" } }, { "claim_name": "is_restricted", "string_match": { "exact": "true" } }, { "claim_name": "restricted_reason", "present_match": true }]"#,
                ],
            },
        ],
    },
    Levels {
        preset: "stack_auth_rest",
        parameter: USER_TYPES,
        values: USER_TYPE_VALUES,
        texts: &[
            LevelTexts {
                placeholder: "more_headers",
                of_values: &[
                    "",
                    r#", "x-stack-allow-restricted-user": "true""#,
                    r#", "x-stack-allow-anonymous-user": "true""#,
                ],
            },
            LevelTexts {
                placeholder: "users",
                of_values: &[
                    r#"[{ "claim_name": "is_anonymous", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "is_restricted", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "restricted_reason", "present_match": false }]"#,
                    r#", [{ "claim_name": "is_anonymous", "optional": true, "string_match": { "exact": "false" } }, { "claim_name": "is_restricted", "string_match": { "exact": "true" } }, { "claim_name": "restricted_reason", "present_match": true }]"#,
                    r#", [{ "claim_name": "is_anonymous", "string_match": { "exact": "true" } }, { "claim_name": "is_restricted", "string_match": { "exact": "true" } }, { "claim_name": "restricted_reason", "present_match": true }]"#,
                ],
            },
        ],
    },
];

fn of_preset(preset: &str) -> impl Iterator<Item = &'static Levels> {
    LEVELS.iter().filter(move |levels| levels.preset == preset)
}

/// The text of `preset` with the placeholders that such parameters fill.
pub(super) fn fill(preset: &str, text: &str, fields: &mut Fields<'_>) -> Result<String, ConfigError> {
    let mut text = text.to_owned();
    for Levels { parameter, values, texts, .. } in of_preset(preset) {
        let level = match fields.take(parameter)? {
            None => 0,
            Some(node) => {
                let written = node.string()?;
                let level = values.iter().position(|value| *value == written);
                level.ok_or_else(|| node.expected(format!("one of {}", values.join(", "))))?
            }
        };
        for LevelTexts { placeholder, of_values } in *texts {
            let up_to: String = of_values.iter().take(level + 1).copied().collect();
            text = text.replace(&format!("{{{placeholder}}}"), &up_to);
        }
    }
    Ok(text)
}

/// What the placeholders of the preset of this name stand for: parameter, placeholder, value, and what it adds.
pub fn preset_levels(
    preset: &str,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    of_preset(preset).flat_map(|Levels { parameter, values, texts, .. }| {
        texts.iter().flat_map(|LevelTexts { placeholder, of_values }| {
            values.iter().zip(*of_values).map(|(value, text)| (*parameter, *placeholder, *value, *text))
        })
    })
}
