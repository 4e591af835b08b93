//! Places in lists that are read page by page.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};

/// A place in a list that is ordered by a time and an id. As text: microseconds since 1970, a dash, the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor<Id> {
    pub at: DateTime<Utc>,
    pub id: Id,
}

/// The text is no cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor from an earlier answer")]
pub struct NoCursor;

impl<Id: fmt::Display> fmt::Display for Cursor<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.timestamp_micros(), self.id)
    }
}

impl<Id: FromStr> FromStr for Cursor<Id> {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (at, id) = text.split_once('-').ok_or(NoCursor)?;
        let at = at.parse().ok().and_then(DateTime::from_timestamp_micros).ok_or(NoCursor)?;
        Ok(Self { at, id: id.parse().map_err(|_| NoCursor)? })
    }
}

/// One page of `rows`, which were asked for with one more than `limit`, and where the next one begins; `None` when there is
/// nothing more.
#[must_use]
pub fn page<Row, Id>(mut rows: Vec<Row>, limit: u64, place: impl Fn(&Row) -> Cursor<Id>) -> (Vec<Row>, Option<Cursor<Id>>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(place);
    (rows, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::EventId;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = Cursor { at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(), id: EventId::generate() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in
            ["", "-", "1-", "1-2", "x-019a0000-0000-7000-8000-000000000001", "99999999999999999999-019a0000-0000-7000-8000-000000000001"]
        {
            assert_eq!(bad.parse::<Cursor<EventId>>(), Err(NoCursor), "{bad}");
        }
    }

    #[test]
    fn a_page_says_where_the_next_one_begins_if_there_is_one() {
        let place = |second: &i64| Cursor { at: DateTime::from_timestamp(*second, 0).unwrap(), id: *second };
        assert_eq!(page(vec![1, 2, 3], 2, place), (vec![1, 2], Some(place(&2))));
        assert_eq!(page(vec![1, 2], 2, place), (vec![1, 2], None));
        assert_eq!(page(Vec::new(), 2, place), (Vec::new(), None));
    }
}
