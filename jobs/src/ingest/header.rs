//! Which column of a file becomes which column of the table.

use std::path::Path;

use almanac_delta::tables::SERIES_BUCKET;
use almanac_delta::tables::unified_data::{
    CLOSE, COMMODITY, CONTRACT, CURRENCY, DATE, HIGH, IS_ROLL, LOW, OPEN, REGION, UNIT, VOLUME,
};
use almanac_udfs::assign::{SLICE, TABLE_ROWS};
use almanac_udfs::forecasters::nearest;
use arrow::datatypes::{DataType, Schema};

use super::IngestRequest;
use super::error::IngestError;

/// Column that marks closed days with 0. Read, never stored.
pub(super) const IS_TRADING_DAY: &str = "is_trading_day";

/// What a column is mapped to that is left out.
const LEFT_OUT: &str = "_";

/// Column that pandas adds for row numbers. Never meant as data.
const PANDAS_INDEX: &str = "__index_level_0__";

/// Columns that make no sense without a close beside them.
const PRICES: [&str; 4] = [OPEN, HIGH, LOW, VOLUME];

/// What others call the columns every file needs.
const ALIASES: [(&str, &[&str]); 3] = [
    (
        CLOSE,
        &[
            "price",
            "settle",
            "settlement",
            "adj_close",
            "adj close",
            "close_price",
            "last",
            "value",
            "y",
        ],
    ),
    (
        DATE,
        &["day", "time", "timestamp", "datetime", "trade_date", "ds"],
    ),
    (
        COMMODITY,
        &[
            "symbol",
            "ticker",
            "series",
            "product",
            "instrument",
            "item",
            "unique_id",
            "name",
        ],
    ),
];

/// What a column stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// DOUBLE.
    Number,
    /// STRING.
    Text,
    /// BOOLEAN.
    Flag,
}

/// A column that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueColumn {
    /// Its position in the file.
    pub(super) index: usize,
    /// Its name in the table.
    pub(super) name: String,
    /// What it stores.
    pub(super) kind: Kind,
    /// Whether the table has it already.
    pub(super) known: bool,
}

/// The columns of one file by their meaning, as positions in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The file's own names.
    pub(super) names: Vec<String>,
    pub(super) date: usize,
    /// `None` if the request names the commodity.
    pub(super) commodity: Option<usize>,
    pub(super) region: Option<usize>,
    pub(super) trading_day: Option<usize>,
    pub(super) values: Vec<ValueColumn>,
}

impl Header {
    /// Finds the meaning of each of the file's columns.
    ///
    /// A column without a mapping keeps its name, apart from case if the table has it. A file
    /// without closes is taken only if all it holds are covariates that the table has: otherwise a
    /// price under another name would pass for a covariate.
    pub(super) fn new(
        file: &Path,
        names: Vec<String>,
        request: &IngestRequest,
        table: &Schema,
    ) -> Result<Self, IngestError> {
        let ours = our_names(file, &names, request, table)?;
        let position = |wanted: &str| {
            ours.iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, index)| *index)
        };
        let missing = |column: &str| {
            Err(IngestError::MissingColumn {
                file: file.to_owned(),
                column: column.to_owned(),
                found: names.clone(),
                meant: meant(column, &names),
            })
        };
        let Some(date) = position(DATE) else {
            return missing(DATE);
        };
        let commodity = position(COMMODITY);
        if commodity.is_none() && request.commodity.is_none() {
            return missing(COMMODITY);
        }
        let mut values = vec![];
        for (name, index) in &ours {
            if [DATE, COMMODITY, REGION, IS_TRADING_DAY].contains(&name.as_str()) {
                continue;
            }
            let known = table.field_with_name(name).ok();
            let kind = match name.as_str() {
                UNIT | CURRENCY | CONTRACT => Kind::Text,
                IS_ROLL => Kind::Flag,
                _ => Kind::Number,
            };
            if let Some(field) = known
                && kind == Kind::Number
                && field.data_type() != &DataType::Float64
            {
                return Err(IngestError::WrongType {
                    file: file.to_owned(),
                    column: name.clone(),
                    found: format!("{} in the table, by another engine,", field.data_type()),
                    needed: "numbers",
                });
            }
            check_name(file, *index, name, known.is_some())?;
            values.push(ValueColumn {
                index: *index,
                name: name.clone(),
                kind,
                known: known.is_some(),
            });
        }
        let covariates_only = !values.is_empty()
            && values.iter().all(|value| {
                value.known && value.kind == Kind::Number && !PRICES.contains(&value.name.as_str())
            });
        if position(CLOSE).is_none() && !covariates_only {
            return missing(CLOSE);
        }
        let (region, trading_day) = (position(REGION), position(IS_TRADING_DAY));
        Ok(Self {
            names,
            date,
            commodity,
            region,
            trading_day,
            values,
        })
    }
}

/// Our name for each column that is read, with its position in the file.
fn our_names(
    file: &Path,
    names: &[String],
    request: &IngestRequest,
    table: &Schema,
) -> Result<Vec<(String, usize)>, IngestError> {
    let mut ours: Vec<(String, usize)> = vec![];
    for (wanted, theirs) in &request.map {
        let Some(index) = find(names, theirs) else {
            return Err(IngestError::MapSource {
                file: file.to_owned(),
                ours: wanted.clone(),
                theirs: theirs.clone(),
                found: names.to_vec(),
                meant: nearest(theirs, names.iter().map(String::as_str)),
            });
        };
        ours.push((canonical(wanted, table), index));
    }
    let mapped: Vec<usize> = ours.iter().map(|(_, index)| *index).collect();
    ours.retain(|(name, _)| name != LEFT_OUT);
    for (index, name) in names.iter().enumerate() {
        if !mapped.contains(&index) && name != PANDAS_INDEX {
            ours.push((canonical(name, table), index));
        }
    }
    for (later, (name, index)) in ours.iter().enumerate() {
        if let Some((_, first)) = ours[..later]
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return Err(IngestError::SameColumn {
                file: file.to_owned(),
                column: name.clone(),
                first: names[*first].clone(),
                second: names[*index].clone(),
            });
        }
    }
    Ok(ours)
}

fn find(names: &[String], wanted: &str) -> Option<usize> {
    names.iter().position(|name| name == wanted).or_else(|| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted.trim()))
    })
}

/// The table's spelling of a name that differs from it only in case, else the name itself.
fn canonical(name: &str, table: &Schema) -> String {
    let name = name.trim();
    let known = table
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .chain([IS_TRADING_DAY]);
    known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .unwrap_or(name)
        .to_owned()
}

fn check_name(file: &Path, index: usize, name: &str, known: bool) -> Result<(), IngestError> {
    let reason = if name.is_empty() {
        "a column needs a name"
    } else if name.eq_ignore_ascii_case(SERIES_BUCKET) {
        "the lake computes that column itself"
    } else if [SLICE, TABLE_ROWS]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
    {
        "almanac's plans add a column of that name; load it under another with --map"
    } else if known || is_identifier(name) {
        return Ok(());
    } else {
        "a new column's name has only letters, digits and `_`, and no digit first"
    };
    Err(IngestError::ColumnName {
        file: file.to_owned(),
        position: index + 1,
        name: name.to_owned(),
        reason,
    })
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name
            .chars()
            .all(|letter| letter == '_' || letter.is_alphanumeric())
}

/// The column of the file that was probably meant for a needed one.
fn meant(column: &str, names: &[String]) -> Option<String> {
    let aliases = ALIASES
        .iter()
        .find(|(ours, _)| *ours == column)
        .map_or(&[][..], |(_, aliases)| *aliases);
    let known = aliases
        .iter()
        .find_map(|alias| find(names, alias))
        .map(|index| names[index].clone());
    known.or_else(|| nearest(column, names.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use almanac_delta::{Layout, TableName};

    use super::*;

    fn header(names: &[&str], map: &[(&str, &str)]) -> Result<Header, IngestError> {
        let request = IngestRequest {
            map: map
                .iter()
                .map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned()))
                .collect(),
            ..IngestRequest::default()
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Header::new(
            Path::new("a.csv"),
            names,
            &request,
            &TableName::UnifiedData.def(&Layout::Commodity).schema,
        )
    }

    #[test]
    fn a_missing_close_suggests_what_was_meant() {
        let hints = [
            ("price", "--map close=price"),
            ("clsoe", "--map close=clsoe"),
            ("x", "--map close=NAME"),
        ];
        for (name, hint) in hints {
            let error = header(&["date", "commodity", name], &[]).unwrap_err();
            assert!(
                matches!(&error, IngestError::MissingColumn { column, .. } if column == "close"),
                "{error:?}"
            );
            assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        }
    }

    #[test]
    fn known_names_are_found_in_any_case_and_by_mapping() {
        let found = header(
            &["Date", "Commodity", "Settle", "VIX", "eur_usd"],
            &[("close", "Settle")],
        )
        .unwrap();
        let names: Vec<_> = found
            .values
            .iter()
            .map(|value| (value.name.as_str(), value.known))
            .collect();
        assert_eq!(names, [("close", true), ("vix", true), ("eur_usd", false)]);
    }

    #[test]
    fn a_column_filled_twice_is_refused() {
        let error = header(
            &["date", "commodity", "price", "close"],
            &[("close", "price")],
        )
        .unwrap_err();
        assert!(matches!(error, IngestError::SameColumn { .. }), "{error:?}");
    }

    #[test]
    fn a_column_mapped_to_nothing_is_left_out() {
        let names = ["date", "commodity", "close", "source", "__index_level_0__"];
        let found = header(&names, &[("_", "source")]).unwrap();
        assert_eq!(found.values.len(), 1);
    }

    #[test]
    fn covariates_alone_pass_only_if_the_table_has_them() {
        assert!(header(&["date", "commodity", "region", "temp_mean_c"], &[]).is_ok());
        assert!(header(&["date", "commodity", "open"], &[]).is_err());
        assert!(header(&["date", "commodity", "temp_mean_c", "price"], &[]).is_err());
        assert!(header(&["date", "commodity"], &[]).is_err());
    }

    #[test]
    fn names_no_engine_takes_are_refused() {
        let error = header(&["date", "commodity", "close", "Dew Point"], &[]).unwrap_err();
        assert!(
            error
                .hint()
                .unwrap()
                .contains("--map dew_point='Dew Point'"),
            "{:?}",
            error.hint()
        );
        assert!(header(&["", "date", "commodity", "close"], &[]).is_err());
        assert!(header(&["date", "commodity", "close", "series_bucket"], &[]).is_err());
    }
}
