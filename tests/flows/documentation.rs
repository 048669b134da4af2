//! The tables of the README that mirror code are equal to it.
