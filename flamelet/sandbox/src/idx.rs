//! IDX, the format of the MNIST files (Yann LeCun's `idx3-ubyte`), plain or gzipped.
//!
//! Two zero bytes, a type byte, the number of dimensions, the dimensions as big-endian 32-bit numbers, then the elements
//! in row-major order, big-endian. Sizes in the header are believed only as far as the file really holds them.

use std::io::Read;

use flame_model::{Dtype, Tensor};

/// An IDX file of more bytes than this is refused: it would not fit a participant's memory.
const MAX_BYTES: u64 = 8 << 30;
/// More dimensions than any data set of this format has.
const MAX_DIMENSIONS: usize = 8;

/// Reads a whole IDX file. `gzipped` says whether `file` is compressed. The message of an error has no path: the caller
/// knows it.
pub(crate) fn read(file: impl Read, gzipped: bool) -> Result<Tensor, String> {
    if gzipped { parse(flate2::read::GzDecoder::new(file)) } else { parse(file) }
}

fn parse(mut file: impl Read) -> Result<Tensor, String> {
    let mut magic = [0u8; 4];
    file.read_exact(&mut magic).map_err(|error| format!("no IDX header: {error}"))?;
    let [0, 0, kind, dimensions] = magic else {
        return Err(format!("not an IDX file: it begins with {magic:02x?} and not with 00 00"));
    };
    let (width, dtype) = match kind {
        0x08 => (1, Dtype::Uint8),
        0x09 => (1, Dtype::Int32),
        0x0b => (2, Dtype::Int32),
        0x0c => (4, Dtype::Int32),
        0x0d => (4, Dtype::Float32),
        0x0e => (8, Dtype::Float64),
        other => return Err(format!("IDX element type {other:#04x} is not known")),
    };
    let dimensions = usize::from(dimensions);
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(format!("an IDX file has 1 to {MAX_DIMENSIONS} dimensions, this one says {dimensions}"));
    }
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        let mut size = [0u8; 4];
        file.read_exact(&mut size).map_err(|error| format!("the IDX header is cut off: {error}"))?;
        shape.push(u64::from(u32::from_be_bytes(size)));
    }
    let claimed = shape
        .iter()
        .try_fold(width, |bytes: u64, size| bytes.checked_mul(*size))
        .filter(|bytes| *bytes <= MAX_BYTES)
        .ok_or_else(|| format!("its header claims the shape {shape:?}, which is more than 8 GiB"))?;
    // Grows with what is really there, whatever the header claims.
    let mut raw = Vec::new();
    file.take(claimed + 1).read_to_end(&mut raw).map_err(|error| format!("cannot be read: {error}"))?;
    let found = raw.len() as u64;
    if found != claimed {
        let relation = if found < claimed { "only" } else { "more than" };
        let shown = found.min(claimed);
        return Err(format!("its header claims {claimed} bytes of elements and the file has {relation} {shown}"));
    }
    let bytes = match kind {
        0x08 => raw,
        0x09 => raw.iter().flat_map(|byte| i32::from(byte.cast_signed()).to_le_bytes()).collect(),
        0x0b => raw.as_chunks::<2>().0.iter().flat_map(|b| i32::from(i16::from_be_bytes(*b)).to_le_bytes()).collect(),
        0x0e => reversed::<8>(raw),
        _ => reversed::<4>(raw),
    };
    Tensor::from_bytes(&shape, dtype, &bytes).map_err(|error| error.to_string())
}

/// Big-endian elements of `N` bytes to little-endian ones, in place.
fn reversed<const N: usize>(mut bytes: Vec<u8>) -> Vec<u8> {
    for element in bytes.as_chunks_mut::<N>().0 {
        element.reverse();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(kind: u8, shape: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, kind, u8::try_from(shape.len()).unwrap()];
        file.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        file.extend(elements);
        file
    }

    #[test]
    fn elements_are_read_in_their_order_and_type() {
        let tensor = read(&idx(0x08, &[2, 3], &[1, 2, 3, 4, 5, 6])[..], false).unwrap();
        assert_eq!((tensor.shape(), tensor.bytes()), (&[2, 3][..], &[1, 2, 3, 4, 5, 6][..]));
        let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
        assert_eq!(read(&idx(0x0d, &[2], &floats)[..], false).unwrap().read_f32(0, 2).unwrap(), [1.5, -2.0]);
        let shorts: Vec<u8> = [-3i16, 700].iter().flat_map(|x| x.to_be_bytes()).collect();
        assert_eq!(read(&idx(0x0b, &[2], &shorts)[..], false).unwrap().read_f32(0, 2).unwrap(), [-3.0, 700.0]);
    }

    #[test]
    fn gzip_is_unpacked() {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&idx(0x08, &[3], &[7, 8, 9])).unwrap();
        let file = packer.finish().unwrap();
        assert_eq!(read(&file[..], true).unwrap().bytes(), [7, 8, 9]);
        assert!(read(&file[..file.len() / 2], true).is_err());
    }

    #[test]
    fn a_header_that_claims_more_than_the_file_has_is_refused_without_the_memory() {
        let error = read(&idx(0x08, &[60_000, 28, 28], &[0; 10])[..], false).unwrap_err();
        assert!(error.contains("47040000") && error.contains("only 10"), "{error}");
        assert!(read(&idx(0x08, &[u32::MAX, u32::MAX, u32::MAX], &[])[..], false).unwrap_err().contains("8 GiB"));
        assert!(read(&idx(0x08, &[1], &[1, 2])[..], false).unwrap_err().contains("more than"));
        assert!(read(&b"PK\x03\x04"[..], false).unwrap_err().contains("not an IDX file"));
        assert!(read(&b"\0"[..], false).is_err());
    }
}
