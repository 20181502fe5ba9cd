//! Kernel modules of an unpacked Debian kernel: where they lie and in which order they load.

use crate::run::output;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All modules of one kernel, by name.
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Those below `root/lib/modules/VERSION/kernel` (or `root/usr/lib/…`, as newer Debians have it).
    pub(crate) fn of(root: &Path) -> Result<Modules, String> {
        let mut files = BTreeMap::new();
        for folder in ["lib/modules", "usr/lib/modules"] {
            find(&root.join(folder), &mut files);
        }
        if files.is_empty() { Err(format!("{} holds no modules", root.display())) } else { Ok(Modules { files }) }
    }

    /// `wanted` and all that they depend on, each after what it needs, with their uncompressed content.
    pub(crate) fn in_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let name = name.replace('-', "_");
        if order.iter().any(|(present, _)| *present == name) {
            return Ok(());
        }
        let file = self.files.get(&name).ok_or_else(|| format!("this kernel has no module {name}"))?;
        let content = uncompressed(file)?;
        for needed in dependencies(&content) {
            self.add(&needed, order)?;
        }
        order.push((name, content));
        Ok(())
    }
}

/// Collects `NAME.ko` and its compressed forms; names are compared with underscores, as the kernel does.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, files);
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
}

/// The object file itself; Debian 12 packs it as it is, Debian 13 with xz.
fn uncompressed(file: &Path) -> Result<Vec<u8>, String> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return std::fs::read(file).map_err(|error| format!("{}: {error}", file.display())),
    };
    let plain = file.with_extension("");
    output(program, &["--decompress", "--quiet", "--keep", "--force", &file.to_string_lossy()])?;
    std::fs::read(&plain).map_err(|error| format!("{}: {error}", plain.display()))
}

/// What the module itself says that it needs: the field `depends` of its `.modinfo`. The package has no
/// `modules.dep`; that file is made when a kernel is installed.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let field = module[at + key.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(field);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_loads_after_what_it_needs() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        let kernel = folder.join("lib/modules/6.1/kernel");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("top-one.ko"), b"\x7fELF\0depends=middle,bottom\0x").unwrap();
        std::fs::write(kernel.join("middle.ko"), b"\x7fELF\0depends=bottom\0").unwrap();
        std::fs::write(kernel.join("bottom.ko"), b"\x7fELF\0depends=\0").unwrap();
        let modules = Modules::of(&folder).unwrap();
        let order = modules.in_order(&["top_one", "middle"]).unwrap();
        let names: Vec<&str> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bottom", "middle", "top_one"]);
        assert_eq!(modules.in_order(&["absent"]).unwrap_err(), "this kernel has no module absent");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
