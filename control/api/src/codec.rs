//! How the notifier's messages become bytes. tonic keeps 8 KiB in each direction of every stream; a server with ten thousand
//! sessions, each of which says a few words a minute, has better uses for 160 MB.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that a stream keeps for its next message. A longer one takes more, for a while.
const KEPT: usize = 256;
/// Bytes after which an encoder lets others go on.
const YIELD_AFTER: usize = 32 << 10;

/// protobuf, with small buffers.
#[derive(Debug)]
pub(crate) struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for SmallCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::new(KEPT, YIELD_AFTER))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(KEPT, YIELD_AFTER))
    }
}
