//! Chunked coding, the writing side.

/// Appends the size line before `length` bytes of chunk data. `length` must not be 0: that would
/// end the body (nothing is written then).
pub fn write_chunk_head(out: &mut Vec<u8>, length: usize) {
    if length == 0 {
        return;
    }
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let nibble = (length >> (digit * 4) & 0xf) as u8;
        out.push(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line end behind chunk data.
pub fn write_chunk_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends `data` as one chunk; nothing if it is empty.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_head(out, data.len());
        out.extend_from_slice(data);
        write_chunk_tail(out);
    }
}

/// Appends the last chunk and the trailer section; `trailers` as
/// [`BodyDecoder::trailers`](crate::BodyDecoder::trailers) gives them, or empty.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}
