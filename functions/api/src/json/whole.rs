//! Whole numbers. JSON has one kind of number: `60.0` is the whole number 60, and valid for a schema
//! of the type `integer`.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// From here on, not every whole number is a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number, however it is written. `T` is `u32` or `u64`.
pub(crate) struct Whole<T>(pub(crate) T);

/// Reads a field with a whole number that may be absent or null.
pub(crate) fn whole<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let read = Option::<Whole<T>>::deserialize(deserializer)?;
    Ok(read.map(|Whole(number)| number))
}

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number(PhantomData)).map(Self)
    }
}

struct Number<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<T>())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let is_whole =
            (0.0..MAX_EXACT).contains(&number) && number.trunc().total_cmp(&number).is_eq();
        match format!("{:.0}", number.abs()).parse() {
            Ok(whole) if is_whole => self.visit_u64(whole),
            Ok(_) | Err(_) => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<u32>, &str>) {
        let mut json = serde_json::Deserializer::from_str(text);
        match (whole(&mut json), expected) {
            (Ok(read), expected) => assert_eq!(Ok(read), expected, "{text}"),
            (Err(refused), expected) => {
                let said = refused.to_string();
                let (said, _) = said.split_once(" at line").unwrap();
                assert_eq!(Err(said), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_whole_number_is_read_however_it_is_written() {
        for text in ["60", "60.0", "6e1", "60.00"] {
            check(text, Ok(Some(60)));
        }
        check("0.0", Ok(Some(0)));
        check("-0.0", Ok(Some(0)));
        check("4294967295.0", Ok(Some(u32::MAX)));
        check("null", Ok(None));
    }

    #[test]
    fn what_is_no_whole_number_in_range_is_refused() {
        let invalid = "invalid value: integer `4294967296`, expected u32";
        check("4294967296", Err(invalid));
        check("4294967296.0", Err(invalid));
        check("-1", Err("invalid value: integer `-1`, expected u32"));
        for (text, shown) in [
            ("1.5", "1.5"),
            ("-1.0", "-1.0"),
            ("2.5e-42", "2.5e-42"),
            ("1e300", "1e+300"),
        ] {
            let said = format!("invalid type: floating point `{shown}`, expected u32");
            check(text, Err(&said));
        }
        check("\"1\"", Err("invalid type: string \"1\", expected u32"));
    }
}
