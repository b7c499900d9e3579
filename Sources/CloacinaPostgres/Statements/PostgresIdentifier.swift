/// Quotes names of schemas, tables, columns and roles for use in SQL text.
public enum PostgresIdentifier {
    /// Returns `name` as a delimited identifier: in double quotes, with each double quote inside doubled.
    ///
    /// The result names exactly the object called `name`, whatever its case or characters. PostgreSQL cuts names at
    /// 63 bytes and has no way to write a NUL; a statement that holds one is refused before it is sent.
    public static func quote(_ name: String) -> String {
        var quoted = "\""
        quoted.reserveCapacity(name.utf8.count + 2)
        for scalar in name.unicodeScalars {
            if scalar == "\"" { quoted.unicodeScalars.append("\"") }
            quoted.unicodeScalars.append(scalar)
        }
        quoted.unicodeScalars.append("\"")
        return quoted
    }

    /// Returns `text` as a string literal, for the few statements that take no binds.
    ///
    /// Values belong in binds; DDL such as `CREATE ROLE … PASSWORD` accepts only literals.
    public static func literal(_ text: String) -> String {
        var quoted = text.utf8.contains(UInt8(ascii: "\\")) ? " E'" : "'"
        for scalar in text.unicodeScalars {
            if scalar == "'" || scalar == "\\" { quoted.unicodeScalars.append(scalar) }
            quoted.unicodeScalars.append(scalar)
        }
        quoted.unicodeScalars.append("'")
        return quoted
    }
}
