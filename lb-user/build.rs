//! Chooses the XDP programs that are built into the controller: the objects that are checked in, or
//! those that `MQLB_XDP_OBJECT` and `MQLB_DECAP_OBJECT` name (absolute paths; `cargo xtask test` builds
//! them afresh).

use std::{
    env,
    path::{Path, PathBuf},
};

fn main() {
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let objects = Path::new(&crate_dir).join("../lb-ebpf/object");
    for (variable, file) in
        [("MQLB_XDP_OBJECT", "mqlb-xdp.o"), ("MQLB_DECAP_OBJECT", "mqlb-decap.o")]
    {
        let object = env::var_os(variable).map_or_else(|| objects.join(file), PathBuf::from);
        println!("cargo::rerun-if-env-changed={variable}");
        println!("cargo::rerun-if-changed={}", object.display());
        println!("cargo::rustc-env={variable}={}", object.display());
    }
}
