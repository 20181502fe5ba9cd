//! Builds and signs modules for the tests, in a directory of each test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fabric_modules::TrustedKeys;
use minisign::KeyPair;
use tempfile::TempDir;

/// A directory, a key, and the compiler.
pub(crate) struct Workshop {
    directory: TempDir,
    pair: KeyPair,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, pair: KeyPair::generate_unencrypted_keypair().expect("random") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The key with which [`Self::sign`] signs.
    pub(crate) fn keys(&self) -> TrustedKeys {
        TrustedKeys::parse([self.pair.pk.to_base64().as_str()]).expect("a key")
    }

    /// Compiles a file of this crate with the system's C compiler.
    pub(crate) fn compile(&self, source: &str, defines: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let module = self.path("module.so");
        let mut command = Command::new("cc");
        command.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-I",
        ]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include")).args(defines).arg("-o").arg(&module).arg(source);
        let output = command.output().expect("there is a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.only_for_us(&module);
        module
    }

    pub(crate) fn sign(&self, module: &Path) {
        self.sign_with(&self.pair, module);
    }

    pub(crate) fn sign_with(&self, pair: &KeyPair, module: &Path) {
        let bytes = fs::read(module).expect("read");
        let signature = minisign::sign(Some(&pair.pk), &pair.sk, &bytes[..], None, None).expect("signed");
        fs::write(format!("{}.minisig", module.display()), signature.into_string()).expect("written");
    }

    fn only_for_us(&self, module: &Path) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(module, fs::Permissions::from_mode(0o644)).expect("ours");
    }
}
