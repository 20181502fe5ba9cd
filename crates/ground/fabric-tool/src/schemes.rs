//! What transports there are: the check that all were linked in, and `fabric schemes`.

use std::collections::BTreeSet;

use fabric::tli::{Provider, Providers};
use serde_json::{Value, json};

use crate::cli::SchemesArgs;
use crate::failure::Failure;

/// The schemes of the crates that this program names, sorted. A crate of transports that nothing names is not linked in, and nothing says so.
const BUILT_IN: &[&str] = &["inproc", "ipc", "rdma", "tcp", "vsock"];

/// Compares what was linked in with what should have been.
pub(crate) fn check() -> Result<(), Failure> {
    let linked: BTreeSet<&str> = fabric::tli::schemes().into_iter().collect();
    let built_in: BTreeSet<&str> = BUILT_IN.iter().copied().collect();
    let list = |schemes: BTreeSet<&str>| schemes.into_iter().collect::<Vec<_>>().join(", ");
    let (missing, surplus) = (&built_in - &linked, &linked - &built_in);
    if !missing.is_empty() {
        return Err(Failure::new(format!(
            "this program was linked without transports that it needs: {}",
            list(missing)
        )));
    }
    if !surplus.is_empty() {
        return Err(Failure::new(format!(
            "this program was linked with transports that it does not know: {}",
            list(surplus)
        )));
    }
    Ok(())
}

/// Lists every provider with its rank and what it lacks.
pub(crate) fn list(providers: &Providers, args: &SchemesArgs) -> Result<(), Failure> {
    let mut each: Vec<&dyn Provider> = providers.each().collect();
    each.sort_by_key(|provider| provider.scheme().to_owned());
    if args.json {
        let values: Vec<Value> = each.iter().map(|provider| as_json(*provider)).collect();
        println!("{}", Value::from(values));
        return Ok(());
    }
    for provider in each {
        let state = match provider.available() {
            Ok(()) => "available".to_owned(),
            Err(why) => format!("not available: {why}"),
        };
        println!("{:<8} {:<10} {:<40} {state}", provider.scheme(), provider.via(), provider.name());
    }
    Ok(())
}

fn as_json(provider: &dyn Provider) -> Value {
    let lacks = provider.available().err().map(|why| why.to_string());
    json!({
        "scheme": provider.scheme(),
        "name": provider.name(),
        "via": provider.via(),
        "rank": provider.rank(),
        "available": lacks.is_none(),
        "lacks": lacks,
    })
}
