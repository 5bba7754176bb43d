//! What wit-bindgen makes of `../wit`. Nothing else in the crate names a generated module; users never see it.
#![expect(clippy::pedantic, reason = "generated from the WIT package, which carries the documentation")]

wit_bindgen::generate!({
    path: "../wit",
    world: "worker",
    pub_export_macro: true,
    export_macro_name: "__export_worker",
    default_bindings_module: "flame_sdk::__private::bindings",
});
