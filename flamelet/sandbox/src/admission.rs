//! What a component may be made of before anybody compiles it.
//!
//! A compiler's time and memory grow with the number and size of functions and with their locals, which a few bytes can
//! claim by the ten thousand. All of it is counted over the whole component, nested modules included; nothing is compiled.

use wasmparser::{Parser, Payload};

/// Functions, over all modules.
const MAX_FUNCTIONS: usize = 100_000;
/// Bytes of one function's body.
const MAX_BODY: usize = 1 << 20;
/// Bytes of all bodies.
const MAX_CODE: usize = 32 << 20;
/// Locals that all functions declare.
const MAX_LOCALS: u64 = 4_000_000;
/// Modules and components, over all levels.
const MAX_PARTS: usize = 1_000;
/// Components and modules within each other.
const MAX_DEPTH: usize = 8;

/// Why a component is not compiled; none if it may be.
pub(crate) fn refusal(component: &[u8]) -> Option<String> {
    let (mut functions, mut code, mut locals, mut parts, mut depth) = (0_usize, 0_usize, 0_u64, 0_usize, 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => {
                parts += 1;
                depth += 1;
            }
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CodeSectionEntry(body)) => {
                let range = body.range();
                let size = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                if size > MAX_BODY {
                    return Some(format!("a function has {size} bytes, and {MAX_BODY} are the most that is compiled"));
                }
                functions += 1;
                code = code.saturating_add(size);
                let declared = body.get_locals_reader().map(|reader| reader.into_iter().flatten());
                let declared = declared.into_iter().flatten().map(|(count, _)| u64::from(count));
                locals = declared.fold(locals, u64::saturating_add);
            }
            Ok(_) => {}
            Err(error) => return Some(format!("it is no well-formed component: {error}")),
        }
        let counts = [
            ("functions", functions as u64, MAX_FUNCTIONS as u64),
            ("bytes of code", code as u64, MAX_CODE as u64),
            ("locals", locals, MAX_LOCALS),
            ("modules", parts as u64, MAX_PARTS as u64),
            ("levels of modules", depth as u64, MAX_DEPTH as u64),
        ];
        if let Some((what, has, most)) = counts.into_iter().find(|(_, has, most)| has > most) {
            return Some(format!("it has {has} {what} or more, and {most} are the most that is compiled"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leb(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [vec![id], leb(content.len()), content.to_vec()].concat()
    }

    /// A module of functions with these bodies.
    fn module(bodies: &[Vec<u8>]) -> Vec<u8> {
        let types = section(1, &[1, 0x60, 0, 0]);
        let functions = section(3, &[leb(bodies.len()), vec![0; bodies.len()]].concat());
        let code: Vec<u8> = bodies.iter().flat_map(|body| [leb(body.len()), body.clone()].concat()).collect();
        let code = section(10, &[leb(bodies.len()), code].concat());
        [b"\0asm\x01\0\0\0".to_vec(), types, functions, code].concat()
    }

    /// `layers` components within each other.
    fn nested(layers: usize) -> Vec<u8> {
        let header = b"\0asm\x0d\0\x01\0".to_vec();
        (1..layers).fold(header.clone(), |inner, _| [header.clone(), section(4, &inner)].concat())
    }

    #[test]
    fn what_an_honest_component_has_is_compiled() {
        assert_eq!(refusal(&module(&vec![vec![0, 0x0b]; 1_000])), None);
        assert_eq!(refusal(&nested(4)), None);
    }

    #[test]
    fn too_much_of_anything_is_refused_by_name() {
        let refused = |bytes: &[u8]| refusal(bytes).unwrap();
        assert!(refused(&module(&vec![vec![0, 0x0b]; MAX_FUNCTIONS + 1])).contains("functions"));
        let long = [vec![0], vec![0x01; MAX_BODY], vec![0x0b]].concat();
        assert!(refused(&module(&[long])).contains("a function has"));
        let long = [vec![0], vec![0x01; MAX_BODY - 8], vec![0x0b]].concat();
        assert!(refused(&module(&vec![long; 33])).contains("bytes of code"));
        let wide = [vec![1], leb(50_000), vec![0x7f, 0x0b]].concat();
        assert!(refused(&module(&vec![wide; 100])).contains("locals"));
        assert!(refused(&nested(9)).contains("levels"));
        assert!(refused(b"\0asm\x0d\0\x01\0\x04\xff").contains("well-formed"));
    }
}
