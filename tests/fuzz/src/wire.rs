//! Independent client side of a WebSocket, byte by byte: writes masked frames, and checks received
//! frames against RFC 6455.

/// Returns a frame with this first byte, masked as a client must.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Takes one whole frame from the front and returns its first byte and payload. Panics on frames
/// that a server must not send.
pub fn take(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [first, second, rest @ ..] = bytes.as_slice() else { return None };
    assert!(
        first & 0xf0 == 0x80,
        "a server's frame that is no whole, or has reserved bits: {first:#x}"
    );
    assert!(second & 0x80 == 0, "a server's frame with a mask");
    let (len, head) = match second {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        len => (usize::from(*len), 2),
    };
    let kind = first & 0x0f;
    assert!(matches!(kind, 1 | 8 | 9 | 10), "a server's frame of kind {kind}");
    assert!(kind == 1 || len <= 125, "a control frame of {len} bytes");
    let payload = bytes.get(head..head + len)?.to_vec();
    bytes.drain(..head + len);
    Some((kind, payload))
}
