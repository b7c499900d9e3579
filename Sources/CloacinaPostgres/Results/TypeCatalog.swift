/// The types that a connection has met beside PostgreSQL's own: enums, those of extensions, arrays of them.
struct TypeCatalog: Sendable {
    private struct Known {
        var name: String
        /// The function that writes the binary form; `nil` when there is none.
        var send: String?
        var element: UInt32
    }

    private var types: [UInt32: Known] = [:]

    func knows(_ type: UInt32) -> Bool { self.types[type] != nil }

    /// Whether the binary form of a type is its text: enums, `citext` and their like.
    func isText(_ type: UInt32) -> Bool {
        guard let send = self.types[type]?.send else { return false }
        return Self.textFunctions.contains(send)
    }

    /// Whether the server can't write a type, or an array's elements, in binary form.
    func lacksBinaryForm(_ type: UInt32) -> Bool {
        if Self.withoutBinaryForm.contains(type) { return true }
        guard let known = self.types[type] else { return false }
        return known.send == nil || known.element != 0 && self.lacksBinaryForm(known.element)
    }

    /// A type's name, for a message.
    func name(of type: UInt32) -> String { self.types[type]?.name ?? Self.names[type] ?? "an unknown type" }

    mutating func add(_ row: PostgresRow) throws(PostgresError) {
        self.types[try row.value(at: 0)] = Known(
            name: try row.value(at: 1), send: try row.value(at: 2), element: try row.value(at: 3))
    }

    /// Remembers that the server knows nothing of a type, so that it isn't asked again.
    mutating func addUnknown(_ type: UInt32) {
        self.types[type] = Known(name: "an unknown type", send: "?", element: 0)
    }

    /// Asks for types and, of arrays, those of their elements.
    static func query(_ types: Set<UInt32>) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT t.oid, pg_catalog.format_type(t.oid, NULL), \
                (SELECT p.proname::pg_catalog.text FROM pg_catalog.pg_proc p \
                WHERE p.oid OPERATOR(pg_catalog.=) t.typsend), t.typelem FROM pg_catalog.pg_type t \
                WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1) OR t.oid OPERATOR(pg_catalog.=) ANY \
                (SELECT e.typelem FROM pg_catalog.pg_type e WHERE e.oid OPERATOR(pg_catalog.=) ANY ($1))
                """,
            [.oidArray(types.sorted())], prepared: false)
    }

    private static let textFunctions: Set<String> = [
        "textsend", "varcharsend", "bpcharsend", "namesend", "charsend", "unknownsend", "enum_send", "json_send",
        "xml_send", "cstring_send", "citextsend",
    ]

    /// `aclitem`, `gtsvector` and arrays of them.
    private static let withoutBinaryForm: Set<UInt32> = [1033, 1034, 3642, 3644]

    /// Names of PostgreSQL's own types that are met most.
    private static let names: [UInt32: String] = [
        16: "boolean", 17: "bytea", 18: "\"char\"", 19: "name", 20: "bigint", 21: "smallint", 23: "integer",
        24: "regproc", 25: "text", 26: "oid", 114: "json", 142: "xml", 600: "point", 650: "cidr", 700: "real",
        701: "double precision", 790: "money", 829: "macaddr", 869: "inet", 1000: "boolean[]", 1005: "smallint[]",
        1007: "integer[]", 1009: "text[]", 1015: "character varying[]", 1016: "bigint[]", 1021: "real[]",
        1022: "double precision[]", 1033: "aclitem", 1034: "aclitem[]", 1042: "character",
        1043: "character varying", 1082: "date", 1083: "time without time zone", 1114: "timestamp without time zone",
        1115: "timestamp without time zone[]", 1182: "date[]", 1184: "timestamp with time zone",
        1185: "timestamp with time zone[]", 1186: "interval", 1187: "interval[]", 1231: "numeric[]",
        1266: "time with time zone", 1560: "bit", 1562: "bit varying", 1700: "numeric", 2205: "regclass",
        2206: "regtype", 2249: "record", 2950: "uuid", 2951: "uuid[]", 3614: "tsvector", 3615: "tsquery",
        3642: "gtsvector", 3802: "jsonb", 3807: "jsonb[]", 3904: "int4range", 3906: "numrange", 3908: "tsrange",
        3910: "tstzrange", 3912: "daterange", 3926: "int8range", 4072: "jsonpath", 4089: "regnamespace",
        4096: "regrole",
    ]
}
