// Holds manifests against the schemas that Istio publishes: a JSON list of them on stdin, a line for each fault on stdout.
//
// The package has, for each kind, a validator for values and a type. The validators pass over fields that they do not know,
// as a cluster does that drops them without a word; the compiler does not.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import typescript from 'typescript';

const PACKAGE = '@kubernetes-models/istio';

// A TrafficExtension has the fields of a WasmPlugin, those of the module and its VM in `wasm`. The package is of Istio 1.29,
// which does not have it yet, so until then it is held against the schema of the WasmPlugin that it follows.
const OF_MODULE = [
  'url', 'sha256', 'imagePullPolicy', 'imagePullSecret', 'pluginName', 'pluginConfig', 'failStrategy', 'vmConfig', 'type',
];
const OF_EXTENSION = ['selector', 'targetRefs', 'phase', 'priority', 'match'];

function asWasmPlugin(manifest, faults) {
  const { wasm = {}, ...spec } = manifest.spec ?? {};
  const misplaced = (fields, known) => Object.keys(fields).filter(name => !known.includes(name));
  faults.push(...misplaced(spec, OF_EXTENSION).map(name => `spec.${name} is no field of a TrafficExtension`));
  faults.push(...misplaced(wasm, OF_MODULE).map(name => `spec.wasm.${name} is no field of a TrafficExtension`));
  return { ...manifest, kind: 'WasmPlugin', spec: { ...spec, ...wasm } };
}

/** What the compiler says about a manifest as a value of the type that the package has for its kind. */
function unknownFields(manifest, module, kind) {
  // Beside this program, where the package is found.
  const name = fileURLToPath(new URL('manifest.ts', import.meta.url));
  const text = `import type { I${kind} } from '${module}';\nexport const it: I${kind} = ${JSON.stringify(manifest)};\n`;
  const options = {
    module: typescript.ModuleKind.NodeNext, target: typescript.ScriptTarget.ES2022,
    moduleResolution: typescript.ModuleResolutionKind.NodeNext, lib: ['lib.es2022.d.ts'], types: [],
    noEmit: true, strict: true, skipLibCheck: true,
  };
  const host = typescript.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = file => file === name || fileExists(file);
  host.getSourceFile = (file, target) =>
    file === name ? typescript.createSourceFile(file, text, target, true) : getSourceFile(file, target);
  const program = typescript.createProgram([name], options, host);
  return typescript.getPreEmitDiagnostics(program)
    .map(({ messageText }) => typescript.flattenDiagnosticMessageText(messageText, ' '));
}

for (const original of JSON.parse(readFileSync(0, 'utf8'))) {
  const faults = [];
  let manifest = original;
  let module = `${PACKAGE}/${manifest.apiVersion}`;
  let models = await import(module).catch(() => ({}));
  if (manifest.kind === 'TrafficExtension' && !(manifest.kind in models)) manifest = asWasmPlugin(manifest, faults);
  const { kind } = manifest;
  if (kind in models) {
    try {
      new models[kind](manifest).validate();
    } catch (error) {
      faults.push(error.message);
    }
    faults.push(...unknownFields(manifest, module, kind));
  } else {
    faults.push(`Istio has no ${kind} in ${manifest.apiVersion}`);
  }
  const { name } = original.metadata ?? {};
  for (const fault of faults) console.log(`${original.kind} ${name}: ${fault}`);
}
