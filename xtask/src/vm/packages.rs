//! Debian packages of the guest, unpacked below `target/vm` and never installed; QEMU itself is installed.

use crate::run::{found, output, root, run, run_with};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacked beside the kernel. The verbs of the kernel's software adapter, and what shows and makes adapters.
const UNPACKED: &[&str] = &[
    "busybox-static",
    "libibverbs1",
    "ibverbs-providers",
    "ibverbs-utils",
    "iproute2",
    "libnl-3-200",
    "libnl-route-3-200",
    "libmnl0",
    "libbsd0",
    "libmd0",
    "libcap2",
];

/// The packages, unpacked.
pub(crate) struct Packages {
    /// One folder a package.
    folder: PathBuf,
    /// The package that holds the kernel, e.g. `linux-image-6.1.0-56-amd64`.
    linux: String,
}

impl Packages {
    /// Installs QEMU and unpacks the rest, where they are missing; says what. Without root it prints the command.
    pub(crate) fn install() -> Result<Packages, String> {
        let folder = root().join("target/vm/packages");
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let linux = unpacked_kernel(&folder);
        let mut missing: Vec<String> = Vec::new();
        missing.extend(UNPACKED.iter().filter(|name| !folder.join(name).exists()).map(|&name| name.to_owned()));
        let qemu = found("qemu-system-x86_64");
        if let (Some(linux), true, true) = (&linux, missing.is_empty(), qemu) {
            return Ok(Packages { folder, linux: linux.clone() });
        }
        let is_root = output("id", &["-u"])?.trim() == "0";
        if !qemu && !is_root {
            return Err("the guest needs QEMU; run once as root:\n  apt-get update && apt-get install --yes \
                        --no-install-recommends qemu-system-x86"
                .into());
        }
        if is_root {
            run("apt-get", &["update", "--quiet=2"])?;
        }
        if !qemu {
            eprintln!("installing for the tests: qemu-system-x86");
            let args = ["install", "--yes", "--quiet=2", "--no-install-recommends", "qemu-system-x86"];
            run_with("apt-get", &args, &[("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")])?;
        }
        let linux = match linux {
            Some(linux) => linux,
            None => newest_kernel()?,
        };
        if !folder.join(&linux).exists() {
            missing.push(linux.clone());
        }
        if !missing.is_empty() {
            eprintln!("unpacking for the guest, not installing: {}", missing.join(" "));
        }
        for package in &missing {
            unpack(&folder, package)?;
        }
        Ok(Packages { folder, linux })
    }

    /// The folder of the kernel's package.
    pub(crate) fn linux(&self) -> Result<PathBuf, String> {
        Ok(self.folder.join(&self.linux))
    }

    /// The compressed kernel.
    pub(crate) fn kernel(&self) -> Result<PathBuf, String> {
        let version = self.linux.trim_start_matches("linux-image-");
        self.file(&self.linux, &format!("boot/vmlinuz-{version}"))
    }

    /// A file of an unpacked package. Debian 12 and 13 disagree on whether `/bin` and `/lib` lie below `/usr`.
    pub(crate) fn file(&self, package: &str, file: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(package);
        let other = file.strip_prefix("usr/").map_or_else(|| format!("usr/{file}"), str::to_owned);
        [folder.join(file), folder.join(other)]
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| format!("package {package} holds no {file}"))
    }

    /// The shared libraries of a program or library, with their paths in the guest.
    pub(crate) fn libraries(&self, program: &Path) -> Result<Vec<(String, PathBuf)>, String> {
        let folders: Vec<String> = UNPACKED
            .iter()
            .flat_map(|package| ["usr/lib", "lib"].map(|lib| self.folder.join(package).join(lib)))
            .map(|lib| lib.join("x86_64-linux-gnu"))
            .filter(|lib| lib.exists())
            .map(|lib| lib.to_string_lossy().into_owned())
            .collect();
        let listed = Command::new("ldd")
            .arg(program)
            .env("LD_LIBRARY_PATH", folders.join(":"))
            .output()
            .map_err(|error| format!("ldd could not be started: {error}"))?;
        let text = String::from_utf8_lossy(&listed.stdout);
        // A static program has none; ldd calls that a failure.
        text.lines().filter_map(|line| library(line).transpose()).collect()
    }
}

/// One line of ldd: `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the loader, or a name alone for what the kernel maps.
fn library(line: &str) -> Result<Option<(String, PathBuf)>, String> {
    let line = line.trim();
    if line.ends_with("not found") {
        return Err(format!("a library of the guest is missing: {line}"));
    }
    let found = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = found.split(" (").next().unwrap_or(found);
    if !path.starts_with('/') {
        return Ok(None);
    }
    // The loader has to be where the program says; all others where the loader looks.
    let name = match line.split_once(" => ") {
        Some((name, _)) => format!("usr/lib/x86_64-linux-gnu/{name}"),
        None => path.trim_start_matches('/').to_owned(),
    };
    Ok(Some((name, path.into())))
}

/// The kernel that an earlier run unpacked.
fn unpacked_kernel(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| name.starts_with("linux-image-") && !name.ends_with(PARTIAL))
}

/// The package that `linux-image-amd64` stands for today.
fn newest_kernel() -> Result<String, String> {
    let text = output("apt-cache", &["depends", "linux-image-amd64"])?;
    let mut kernels = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = kernels.next_back().ok_or("apt knows no linux-image-amd64")?;
    Ok(format!("linux-image-{version}"))
}

/// Ends the name of a folder while a package is being unpacked into it.
const PARTIAL: &str = ".partial";

/// Downloads and unpacks one package; its folder gets its name when it is complete.
fn unpack(folder: &Path, package: &str) -> Result<(), String> {
    let (folder, partial) = (folder.display(), format!("{package}{PARTIAL}"));
    let script = format!(
        "cd '{folder}' && rm -rf '{partial}' && mkdir '{partial}' && cd '{partial}' && \
         apt-get download --option APT::Sandbox::User=root --quiet=2 {package} && dpkg-deb --extract {package}_*.deb . && rm {package}_*.deb && \
         cd .. && mv '{partial}' '{package}'"
    );
    run("sh", &["-c", &script])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd() {
        let (name, path) =
            library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3be0551000)").unwrap().unwrap();
        assert_eq!(name, "usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(path, Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        let (name, _) = library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f3be07a3000)").unwrap().unwrap();
        assert_eq!(name, "lib64/ld-linux-x86-64.so.2");
        assert!(library("\tlinux-vdso.so.1 (0x00007ff2b3d12000)").unwrap().is_none());
        assert!(library("\tnot a dynamic executable").unwrap().is_none());
        assert!(library("\tlibx.so => not found").is_err());
    }
}
