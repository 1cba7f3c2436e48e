//! What the targets share.

/// A stream in pieces of these sizes, in turn and again from the first; a size of zero counts as
/// one.
pub fn pieces<'a>(mut stream: &'a [u8], sizes: &[u8; 8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = usize::from(*sizes.next()?).max(1);
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
