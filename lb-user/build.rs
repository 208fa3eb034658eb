//! Chooses the XDP program that is built into the controller: the object that is checked in, or the
//! one that `MQLB_XDP_OBJECT` names (an absolute path; `cargo xtask test` builds it afresh).

use std::{
    env,
    path::{Path, PathBuf},
};

fn main() {
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let checked_in = Path::new(&crate_dir).join("../lb-ebpf/object/mqlb-xdp.o");
    let object = env::var_os("MQLB_XDP_OBJECT").map_or(checked_in, PathBuf::from);
    println!("cargo::rerun-if-env-changed=MQLB_XDP_OBJECT");
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=MQLB_XDP_OBJECT={}", object.display());
}
