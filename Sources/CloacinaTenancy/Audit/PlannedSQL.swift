import CloacinaPostgres

/// Writes statements as a person would type them, binds in place, secrets masked.
enum PlannedSQL {
    static func text(of statement: PostgresStatement) -> String {
        var sql = statement.sql
        // From the last to the first, so that $1 is not found in $10.
        for (index, bind) in statement.binds.enumerated().reversed() {
            sql = sql.replacing("$\(index + 1)", with: self.literal(bind))
        }
        return SecretMask.mask(sql)
    }

    private static func literal(_ value: PostgresValue) -> String {
        switch value {
        case .null: "NULL"
        case .bool(let bool): bool ? "true" : "false"
        case .int16(let int): String(int)
        case .int32(let int): String(int)
        case .int64(let int): String(int)
        case .oid(let oid): String(oid)
        case .double(let double): String(double)
        case .text(let text), .json(let text): PostgresIdentifier.literal(text)
        case .uuid(let uuid): "'\(uuid)'"
        case .textArray(let texts): "ARRAY[\(texts.map(PostgresIdentifier.literal).joined(separator: ", "))]"
        case .int32Array(let ints): "ARRAY[\(ints.map { String($0) }.joined(separator: ", "))]"
        case .int64Array(let ints): "ARRAY[\(ints.map { String($0) }.joined(separator: ", "))]"
        default: "…"
        }
    }
}
