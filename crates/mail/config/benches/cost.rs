//! What the configuration costs: reading a large file, resolving a scope, and the questions asked per session and per
//! recipient. `cargo bench -p config`.

use config::{Config, Listener};
use divan::{Bencher, black_box, counter::BytesCount};

fn main() {
    divan::main();
}

fn large() -> String {
    let domain = |i: u32| format!("[domain.\"d{i}.example\"]\nmax_connections = {}\n", i % 1000 + 1);
    let names: Vec<String> = (0..10_000).map(|i| format!("\"r{i}.example\", \"*.s{i}.example\"")).collect();
    let listener = format!(
        "[listener.mx]\nbind = \"127.0.0.1:25\"\nrelay_from = [\"127.0.0.0/8\", \"10.0.0.0/8\", \"2001:db8::/32\"]\n\
         relay_domains = [{}]\n[binding.a]\nehlo = \"a.example\"\n[domain.\"/^mx[0-9]+\\\\./\"]\nport = 26\n",
        names.join(", ")
    );
    listener + &(0..10_000).map(domain).collect::<String>()
}

fn config() -> Config {
    Config::parse("bench.toml", &large()).expect("the text is valid")
}

fn listener(config: &Config) -> &Listener {
    config.listener("mx").expect("the text has it")
}

#[divan::bench]
fn parse_large(bencher: Bencher) {
    let text = large();
    bencher.counter(BytesCount::of_str(&text)).bench(|| Config::parse("bench.toml", black_box(&text)).is_ok());
}

#[divan::bench]
fn domain_options(bencher: Bencher) {
    let config = config();
    bencher.bench(|| config.domain_options(black_box("d77.example"), "a", None));
}

#[divan::bench]
fn relay_domain_exact(bencher: Bencher) {
    let config = config();
    bencher.bench(|| listener(&config).relay_domains.contains(black_box("r777.example")));
}

#[divan::bench]
fn relay_domain_none_of_five_labels(bencher: Bencher) {
    let config = config();
    bencher.bench(|| listener(&config).relay_domains.contains(black_box("a.b.mail.other.test")));
}

#[divan::bench]
fn relay_from(bencher: Bencher) {
    let config = config();
    let client = black_box("192.0.2.1".parse().expect("an address"));
    bencher.bench(|| listener(&config).relay_from.contains(client));
}
