//! The goods: made from a small vocabulary, the same in each replica and in each run.

/// Most products of a shop.
pub(crate) const PRODUCTS_MAX: u32 = 10_000;

/// One kind of goods: noun, category, lowest price in cents.
const KINDS: [(&str, &str, u32); 15] = [
    ("Lamp", "Lighting", 3_900),
    ("Mug", "Kitchen", 900),
    ("Chair", "Furniture", 8_900),
    ("Blanket", "Textiles", 4_500),
    ("Kettle", "Kitchen", 5_400),
    ("Shelf", "Furniture", 6_900),
    ("Candle Holder", "Lighting", 1_900),
    ("Bowl", "Kitchen", 1_400),
    ("Stool", "Furniture", 4_900),
    ("Cushion", "Textiles", 2_400),
    ("Teapot", "Kitchen", 3_600),
    ("Side Table", "Furniture", 9_900),
    ("Pendant", "Lighting", 7_200),
    ("Towel", "Textiles", 1_600),
    ("Carafe", "Kitchen", 2_200),
];

const FINISHES: [(&str, &str); 8] = [
    ("Oak", "solid oak, oiled by hand"),
    ("Harbour Blue", "a deep blue that does not fade"),
    ("Slate", "the grey of wet slate"),
    ("Brass", "brushed brass that ages well"),
    ("Linen", "undyed linen"),
    ("Birch", "light birch from managed woods"),
    ("Terracotta", "fired clay, unglazed outside"),
    ("Moss", "a quiet green"),
];

/// One product before it is stored.
pub(crate) struct Goods {
    pub(crate) name: String,
    pub(crate) category: &'static str,
    pub(crate) description: String,
    pub(crate) price_cents: u32,
}

/// The product with number `id`, counted from 1.
pub(crate) fn goods(id: u32) -> Goods {
    let index = id.saturating_sub(1) as usize;
    let (noun, category, base) = KINDS[index % KINDS.len()];
    // Both lengths are coprime, so kinds and finishes go through all their pairs before one comes again.
    let (finish, text) = FINISHES[index % FINISHES.len()];
    let edition = index / (KINDS.len() * FINISHES.len());
    let suffix = if edition == 0 {
        String::new()
    } else {
        format!(" No. {}", edition + 1)
    };
    Goods {
        name: format!("{finish} {noun}{suffix}"),
        category,
        description: format!("{noun} in {text}. Made in small batches, sent within two days."),
        price_cents: base + (index as u32 % 7) * 350,
    }
}

#[cfg(test)]
mod tests {
    use super::goods;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_products_share_a_name() {
        let names: BTreeSet<String> = (1..=1_000).map(|id| goods(id).name).collect();
        assert_eq!(names.len(), 1_000);
    }
}
