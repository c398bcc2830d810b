//! `keygen`: prints a new private key.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::domain::secret::ExposeSecret;
use crate::jose::sign::SigningKey;
use crate::jose::{ALGORITHMS, Algorithm, algorithm_name, parse_algorithm, provider};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Name the file in the configuration with `issuer.signing.privateKeyFile`; `issuer.signing.algorithm`
must be the same.

Examples:
  (umask 077; m2m-sidecar keygen > key.pem)
  (umask 077; m2m-sidecar keygen --algorithm RS256 > key.pem)";

#[derive(Args)]
pub struct Options {
    /// The algorithm of the key
    #[arg(long, default_value = "ES256", value_parser = algorithms())]
    algorithm: Algorithm,
    /// Print the key and its algorithm as JSON
    #[arg(long)]
    json: bool,
}

fn algorithms() -> impl TypedValueParser<Value = Algorithm> {
    let names = ALGORITHMS
        .iter()
        .map(|algorithm| algorithm_name(*algorithm));
    PossibleValuesParser::new(names)
        .try_map(|name| parse_algorithm(&name).ok_or("not an algorithm"))
}

/// Prints the key, which is the command's result.
pub fn keygen(options: &Options) -> anyhow::Result<()> {
    provider::install();
    let key = SigningKey::generate(options.algorithm)?;
    if options.json {
        let (algorithm, pem) = (algorithm_name(options.algorithm), key.to_pem());
        return super::print_json(
            &json!({ "algorithm": algorithm, "private_key": pem.expose_secret() }),
        );
    }
    super::print(key.to_pem().expose_secret().trim_end())
}
