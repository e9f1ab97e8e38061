//! Values of Arrow's columns as JSON: each type either says what it means or is refused by its name. Nothing that holds
//! a value becomes null.
use crate::text_row::LONGEST;
use arrow::array::{Array, AsArray, downcast_dictionary_array, downcast_run_array, make_array};
use arrow::datatypes::{
    ArrowNativeType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};

/// One value as JSON, or the type that can't be one. Dates, times, durations and decimals are their text, NaN and
/// infinities too; bytes are text where they are UTF-8, otherwise an object that says how many they are.
pub(crate) fn cell(column: &dyn Array, row: usize) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(row).into()
        };
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => text(column.as_string::<i32>().value(row))?,
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(row))?,
        DataType::Utf8View => text(column.as_string_view().value(row))?,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => float(column.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => bytes(column.as_binary::<i32>().value(row))?,
        DataType::LargeBinary => bytes(column.as_binary::<i64>().value(row))?,
        DataType::BinaryView => bytes(column.as_binary_view().value(row))?,
        DataType::FixedSizeBinary(_) => bytes(column.as_fixed_size_binary().value(row))?,
        DataType::Timestamp(unit, Some(_)) => instant(column, row, *unit)?,
        DataType::Timestamp(_, None)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => shown(column, row)?,
        _ => nested(column, row)?,
    })
}

/// A text, unless it is longer than a row may be: it is not copied then.
fn text(text: &str) -> Result<Value, String> {
    match text.len() > LONGEST {
        true => Err(format!("a text of more than {} MiB", LONGEST >> 20)),
        false => Ok(text.into()),
    }
}

/// Values made of others.
fn nested(column: &dyn Array, row: usize) -> Result<Value, String> {
    match column.data_type() {
        DataType::List(_) => items(column.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => items(column.as_list::<i64>().value(row).as_ref()),
        DataType::ListView(_) => items(column.as_list_view::<i32>().value(row).as_ref()),
        DataType::LargeListView(_) => items(column.as_list_view::<i64>().value(row).as_ref()),
        DataType::FixedSizeList(..) => items(column.as_fixed_size_list().value(row).as_ref()),
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let pairs = fields.iter().zip(parts.columns());
            // All structs of a column have all keys: those that a row had not are null, and no row meant that.
            let pairs = pairs
                .filter(|(_, part)| !part.is_null(row))
                .map(|(field, part)| Ok((field.name().clone(), cell(part.as_ref(), row)?)));
            Ok(Value::Object(pairs.collect::<Result<_, String>>()?))
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            entry_map(entries.column(0).as_ref(), entries.column(1).as_ref())
        }
        DataType::Dictionary(..) => downcast_dictionary_array!(
            column => cell(column.values().as_ref(), column.keys().value(row).as_usize()),
            other => Err(other.to_string())
        ),
        DataType::RunEndEncoded(..) => downcast_run_array!(
            column => cell(column.values().as_ref(), column.get_physical_index(row)),
            other => Err(other.to_string())
        ),
        other => Err(other.to_string()),
    }
}

fn items(list: &dyn Array) -> Result<Value, String> {
    let items = (0..list.len()).map(|at| cell(list, at));
    items.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// A map as an object; keys that are no text are written as JSON writes them.
fn entry_map(keys: &dyn Array, values: &dyn Array) -> Result<Value, String> {
    let mut map = Map::new();
    for at in 0..keys.len() {
        let key = match cell(keys, at)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if map.insert(key.clone(), cell(values, at)?).is_some() {
            return Err(format!("a map that holds the key '{key}' twice"));
        }
    }
    Ok(Value::Object(map))
}

/// JSON has no NaN and no infinities; null would say that there is no value.
fn float(number: f64) -> Value {
    match number.is_finite() {
        true => number.into(),
        false => number.to_string().into(),
    }
}

fn bytes(bytes: &[u8]) -> Result<Value, String> {
    match std::str::from_utf8(bytes) {
        Ok(whole) => text(whole),
        Err(_) => Ok(json!({"bytes": bytes.len()})),
    }
}

/// A time of a zone, which lies as a time of UTC, as such.
fn instant(column: &dyn Array, row: usize, unit: TimeUnit) -> Result<Value, String> {
    let one = column.slice(row, 1).to_data().into_builder();
    let naive = one.data_type(DataType::Timestamp(unit, None)).build();
    let naive = make_array(naive.map_err(|error| error.to_string())?);
    match shown(naive.as_ref(), 0)? {
        Value::String(text) => Ok(format!("{text}Z").into()),
        other => Ok(other),
    }
}

/// What Arrow prints: ISO 8601 for dates and times, all digits of decimals.
fn shown(column: &dyn Array, row: usize) -> Result<Value, String> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default());
    let formatter = formatter.map_err(|error| error.to_string())?;
    let text = formatter.value(row).try_to_string();
    Ok(text.map_err(|error| error.to_string())?.into())
}
