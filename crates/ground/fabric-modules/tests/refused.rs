//! Modules that must not be loaded, each with the error that says why, and without having run a line.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fabric_modules::{LoadError, Module, SignatureError, TrustedKeys};
use minisign::KeyPair;
use support::Workshop;

fn refused(path: &Path, keys: &TrustedKeys) -> LoadError {
    let error = Module::load(path, keys).expect_err("it must be refused");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let parent = path.parent().expect("a parent").canonicalize().expect("there").display().to_string();
    let text = error.to_string();
    assert!(text.contains(&name) || text.contains(&parent), "the file is named: {text}");
    error
}

fn compile_text(workshop: &Workshop, text: &str) -> PathBuf {
    let source = workshop.path("module.c");
    fs::write(&source, text).expect("written");
    workshop.compile(source.to_str().expect("plain"), &[])
}

/// A module whose initialiser leaves a file behind.
fn marked(workshop: &Workshop) -> PathBuf {
    let mark = workshop.path("ran");
    compile_text(
        workshop,
        &format!(
            "#include <fcntl.h>\n__attribute__((constructor)) static void run(void) {{ open(\"{}\", O_CREAT | O_WRONLY, 0600); }}\n",
            mark.display()
        ),
    )
}

#[test]
fn an_unsigned_one_is_refused_and_runs_nothing() {
    let workshop = Workshop::new();
    let module = marked(&workshop);
    assert!(matches!(refused(&module, &workshop.keys()), LoadError::Unsigned { .. }));
    assert!(!workshop.path("ran").exists(), "its initialiser ran");
    // The same module signed runs, and then lacks a table: the mark would have been left.
    workshop.sign(&module);
    assert!(matches!(refused(&module, &workshop.keys()), LoadError::Symbol { .. }));
    assert!(workshop.path("ran").exists());
}

#[test]
fn one_signed_with_another_key_or_changed_since_is_refused_and_runs_nothing() {
    let workshop = Workshop::new();
    let module = marked(&workshop);
    workshop.sign_with(&KeyPair::generate_unencrypted_keypair().expect("random"), &module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Signature { error: SignatureError::UnknownKey, .. }), "{error}");

    workshop.sign(&module);
    let mut bytes = fs::read(&module).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&module, bytes).expect("written");
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Signature { error: SignatureError::OtherBytes, .. }), "{error}");

    fs::write(workshop.path("module.so.minisig"), "untrusted comment: x\n").expect("written");
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Signature { error: SignatureError::Malformed, .. }), "{error}");
    assert!(!workshop.path("ran").exists(), "its initialiser ran");
}

#[test]
fn without_trusted_keys_nothing_is_loaded() {
    let workshop = Workshop::new();
    let module = workshop.compile("sample/pair.c", &[]);
    workshop.sign(&module);
    let error = refused(&module, &TrustedKeys::default());
    assert!(matches!(error, LoadError::Signature { error: SignatureError::UnknownKey, .. }), "{error}");
}

#[test]
fn what_others_could_have_written_is_refused_though_it_is_signed() {
    let workshop = Workshop::new();
    let module = workshop.compile("sample/pair.c", &[]);
    workshop.sign(&module);
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    for mode in [0o646, 0o664, 0o666] {
        set(&module, mode);
        let error = refused(&module, &workshop.keys());
        assert!(matches!(error, LoadError::Writable { mode: found, .. } if found == mode), "{error}");
    }
    set(&module, 0o644);
    let directory = module.parent().expect("a parent").to_owned();
    set(&directory, 0o777);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Writable { mode: 0o777, .. }), "{error}");
    // The sticky bit keeps others from the file.
    set(&directory, 0o1777);
    Module::load(&module, &workshop.keys()).expect("loaded");
    set(&directory, 0o700);
}

#[test]
fn links_directories_and_missing_files_are_named_as_such() {
    let workshop = Workshop::new();
    let module = workshop.compile("sample/pair.c", &[]);
    workshop.sign(&module);
    let link = workshop.path("link.so");
    symlink(&module, &link).expect("made");
    fs::copy(workshop.path("module.so.minisig"), workshop.path("link.so.minisig")).expect("copied");
    assert!(matches!(refused(&link, &workshop.keys()), LoadError::SymbolicLink { .. }));
    let directory = workshop.path("directory.so");
    fs::create_dir(&directory).expect("made");
    assert!(matches!(refused(&directory, &workshop.keys()), LoadError::NotAFile { .. }));
    assert!(matches!(refused(&workshop.path("missing.so"), &workshop.keys()), LoadError::Open { .. }));
}

#[test]
fn a_table_of_another_version_or_size_is_refused_with_both() {
    let workshop = Workshop::new();
    let module = workshop.compile("sample/pair.c", &["-DVERSION=7u"]);
    workshop.sign(&module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Version { ours: 1, theirs: 7, .. }), "{error}");
    assert!(error.to_string().contains("version 7") && error.to_string().contains("here is 1"), "{error}");

    let module = compile_text(
        &workshop,
        "#include <stdint.h>\nconst struct { uint32_t size, version; } fabric_module = {8, 1};\n"
            .replace("const struct", "__attribute__((visibility(\"default\"))) const struct")
            .as_str(),
    );
    workshop.sign(&module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::TableSize { theirs: 8, .. }), "{error}");
}

#[test]
fn a_missing_table_function_or_scheme_is_named() {
    let workshop = Workshop::new();
    let module = workshop.compile("sample/pair.c", &["-DSYMBOL=other_name"]);
    workshop.sign(&module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Symbol { .. }) && error.to_string().contains("fabric_module"), "{error}");

    let module = compile_text(
        &workshop,
        "#include \"fabric_module.h\"\nstatic int there(struct fabric_text *why) { (void)why; return 0; }\n\
         __attribute__((visibility(\"default\"))) const struct fabric_module fabric_module = {\n\
         .size = sizeof(struct fabric_module), .version = 1, .scheme = \"gap\", .name = \"gap\", .available = there};\n",
    );
    workshop.sign(&module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Function { function: "limits", .. }), "{error}");

    let module = workshop.compile("sample/pair.c", &["-DSCHEME=\"Not-a:scheme\""]);
    workshop.sign(&module);
    assert!(matches!(refused(&module, &workshop.keys()), LoadError::Scheme { .. }));
}

#[test]
fn what_is_no_library_is_refused_by_the_dynamic_linker() {
    let workshop = Workshop::new();
    let module = workshop.path("module.so");
    fs::write(&module, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&module, fs::Permissions::from_mode(0o644)).expect("ours");
    workshop.sign(&module);
    let error = refused(&module, &workshop.keys());
    assert!(matches!(error, LoadError::Library { .. }), "{error}");
}
