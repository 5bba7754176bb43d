//! Components in WebAssembly's own text, for attacks that Rust cannot express.

use std::fmt::Write as _;

/// A worker whose core module has `more`, and whose `run` has this body and returns the address of its answer. The
/// memory begins with zeros: an answer there is a success.
pub(crate) fn worker(body: &str, more: &str) -> Vec<u8> {
    component(&format!("(core module $m {MEMORY} {more} (func (export \"run\") (result i32) {body}))"), RUN)
}

const MEMORY: &str = "(memory (export \"memory\") 1)";

/// The world's `run` of an instance of `$m`.
const RUN: &str = r#"
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (func $run (result (result (error $failure))) (canon lift (core func $i "run") (memory $memory)))
    (export "run" (func $run))"#;

const TYPES: &str = r#"
    (type $error' (variant (case "timeout") (case "stopped") (case "closed") (case "not-permitted" string)
        (case "not-found" string) (case "shape-mismatch" string) (case "limit-exceeded" string)
        (case "invalid-argument" string) (case "not-finite" string) (case "not-enough" string)
        (case "budget-spent" string) (case "unavailable" string) (case "internal" string)))
    (export $error "error" (type $error'))
    (type $failure' (variant (case "host" $error) (case "guest" string)))
    (export $failure "failure" (type $failure'))"#;

/// A component that serves the trainer.
pub(crate) fn component(modules: &str, rest: &str) -> Vec<u8> {
    let text = format!("(component {TYPES} {modules} {rest})");
    with_roles(wat::parse_str(text).unwrap(), b"trainer")
}

/// Adds the section of role names.
pub(crate) fn with_roles(mut component: Vec<u8>, roles: &[u8]) -> Vec<u8> {
    let name = b"flame:roles";
    component.push(0);
    leb(&mut component, 1 + name.len() + roles.len());
    component.push(u8::try_from(name.len()).unwrap());
    component.extend_from_slice(name);
    component.extend_from_slice(roles);
    component
}

/// An unsigned number as WebAssembly writes it.
pub(crate) fn leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// So many memories beside the first, of so many pages each.
pub(crate) fn memories(count: usize, pages: usize) -> Vec<u8> {
    worker("i32.const 0", &format!("(memory {pages})").repeat(count))
}

/// Memories that begin empty and grow in turns.
pub(crate) fn grown_memories() -> Vec<u8> {
    let mut body = "(loop $again".to_owned();
    for at in 1..10 {
        let _ = write!(body, " (if (i32.eq (memory.grow {at} (i32.const 16)) (i32.const -1)) (then unreachable))");
    }
    worker(&format!("{body} (br $again)) i32.const 0"), &"(memory 0)".repeat(9))
}

/// A hundred instances of a module with a hundred memories of no page each: they cost nothing but addresses, 4 GiB each.
pub(crate) fn reserved_memories() -> Vec<u8> {
    let many = format!("(core module $many {})", "(memory 0)".repeat(99));
    let module = format!("(core module $m {MEMORY} (func (export \"run\") (result i32) i32.const 0))");
    let instances = "(core instance (instantiate $many))".repeat(100);
    component(&format!("{module} {many} {instances}"), RUN)
}

pub(crate) fn table_growth() -> Vec<u8> {
    let body = "(loop $again (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) \
                (then unreachable)) (br $again)) i32.const 0";
    worker(body, "(table $t 0 funcref)")
}

pub(crate) fn large_table() -> Vec<u8> {
    worker("i32.const 0", "(table 9000000 funcref)")
}

/// The function that every module starts with never ends.
pub(crate) fn start_loop() -> Vec<u8> {
    worker("i32.const 0", "(func $spin (loop $again (br $again))) (start $spin)")
}

/// Answers lie outside the memory.
pub(crate) fn answer_outside() -> Vec<u8> {
    worker("i32.const -4", "")
}

/// An answer at an odd address.
pub(crate) fn answer_unaligned() -> Vec<u8> {
    worker("i32.const 13", "")
}

/// A failure whose text has four thousand million bytes.
pub(crate) fn endless_answer() -> Vec<u8> {
    let data = r#"(data (i32.const 16) "\01\00\00\00\01\00\00\00\00\00\00\00\ff\ff\ff\ff")"#;
    worker("i32.const 16", data)
}

/// A failure whose case there is not.
pub(crate) fn answer_of_no_case() -> Vec<u8> {
    worker("i32.const 16", r#"(data (i32.const 16) "\01\00\00\00\63")"#)
}

/// Handles of the system's clock, which none of the SDK's types are.
pub(crate) fn leak_pollables() -> Vec<u8> {
    let imports = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $inner (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $inner))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core module $m
        (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
        (memory (export "memory") 1)
        (func (export "run") (result i32)
            (loop $again (drop (call $subscribe (i64.const 1000000))) (br $again)) i32.const 0))
    (core instance $i (instantiate $m (with "host" (instance (export "subscribe" (func $subscribe))))))
    (alias core export $i "memory" (core memory $memory))
    (func $run (result (result (error $failure))) (canon lift (core func $i "run") (memory $memory)))
    (export "run" (func $run))"#;
    component(imports, "")
}

/// Calls itself without end and without a frame in memory.
pub(crate) fn recursion() -> Vec<u8> {
    worker("call $deeper", "(func $deeper (result i32) (i32.add (i32.const 1) (call $deeper)))")
}
