//! zstd over a payload, block by block.
//!
//! Every [`BLOCK`] bytes are a frame of their own, one behind the other (which is a valid zstd file). So neither side
//! needs more than a block beside the message, whatever the level; and a frame gives what its block has to give or is
//! refused, so that no frame can make the receiver write more than the header said.

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::WireError;

/// Bytes of payload in one zstd frame; the last may have fewer.
pub const BLOCK: usize = 1 << 20;

/// Compresses blocks.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

impl Packer {
    /// For blocks of at most `len` bytes.
    pub(super) fn new(level: u8, len: usize) -> Result<Self, WireError> {
        let compressor = Compressor::new(i32::from(level)).map_err(failed)?;
        Ok(Self { compressor, room: vec![0; zstd_safe::compress_bound(len)] })
    }

    /// One frame.
    pub(super) fn pack(&mut self, block: &[u8]) -> Result<Bytes, WireError> {
        let len = self.compressor.compress_to_buffer(block, self.room.as_mut_slice()).map_err(failed)?;
        Ok(Bytes::copy_from_slice(self.room.get(..len).unwrap_or_default()))
    }
}

/// Decompresses blocks from a row of frames.
pub(super) struct Unpacker<'a> {
    decompressor: Decompressor<'static>,
    rest: &'a [u8],
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(frames: &'a [u8]) -> Result<Self, WireError> {
        Ok(Self { decompressor: Decompressor::new().map_err(failed)?, rest: frames })
    }

    /// Fills `block` from the next frame, which must give exactly that.
    pub(super) fn unpack(&mut self, block: &mut [u8]) -> Result<(), WireError> {
        let malformed = |why: &str| WireError::Malformed(format!("the compressed payload: {why}"));
        let len = zstd_safe::find_frame_compressed_size(self.rest).map_err(|_| malformed("not a zstd frame"))?;
        let (frame, rest) = self.rest.split_at_checked(len).ok_or_else(|| malformed("a frame is cut off"))?;
        self.rest = rest;
        let wanted = block.len();
        let found = self.decompressor.decompress_to_buffer(frame, block);
        match found {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => Err(malformed(&format!("a frame gives {found} bytes where the header says {wanted}"))),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }

    /// Nothing may follow the last block.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(WireError::Malformed(format!("{} bytes follow the last compressed block", self.rest.len())))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn failed(error: std::io::Error) -> WireError {
    WireError::Failed(format!("zstd: {error}"))
}
