//! `keygen`: a new private key.

use clap::Args;

use crate::domain::secret::ExposeSecret;
use crate::jose::sign::SigningKey;
use crate::jose::{ALGORITHMS, Algorithm, algorithm_name, parse_algorithm, provider};

/// What key.
#[derive(Args)]
pub struct Options {
    /// What the key is to sign with: ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512 or EdDSA
    #[arg(long, default_value = "ES256", value_parser = algorithm)]
    algorithm: Algorithm,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let known = || ALGORITHMS.iter().map(|each| algorithm_name(*each)).collect::<Vec<_>>().join(", ");
    parse_algorithm(name).ok_or_else(|| format!("not one of {}", known()))
}

/// Prints the key: this is the command's result, not a leak.
pub fn keygen(options: &Options) -> anyhow::Result<()> {
    provider::install();
    let key = SigningKey::generate(options.algorithm)?;
    super::print(key.to_pem().expose_secret().trim_end());
    Ok(())
}
