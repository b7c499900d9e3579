import CLibPQ
import Glibc

/// Owns one `PGresult` and frees it.
///
/// A result does not change once libpq has handed it over, and libpq allows several threads to read one (libpq
/// documentation, "Behavior in Threaded Programs"): that protects the pointer behind `@unchecked Sendable`.
@safe final class ResultHandle: @unchecked Sendable {
    private let pointer: OpaquePointer

    /// Takes over a result that no one else will clear.
    init(adopting pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe PQclear(self.pointer) }

    var status: ExecStatusType { unsafe PQresultStatus(self.pointer) }
    var rowCount: Int { unsafe Int(truncatingIfNeeded: PQntuples(self.pointer)) }
    var columnCount: Int { unsafe Int(truncatingIfNeeded: PQnfields(self.pointer)) }

    /// The rows that the command changed or returned, as its tag says; 0 for commands without a count.
    var affectedRows: Int {
        guard let text = unsafe PQcmdTuples(self.pointer) else { return 0 }
        return unsafe Int(String(cString: text)) ?? 0
    }

    var commandTag: String {
        guard let text = unsafe PQcmdStatus(self.pointer) else { return "" }
        return unsafe String(cString: text)
    }

    /// Whether the command was SELECT, INSERT, UPDATE, DELETE or MERGE, told without making a string of its tag.
    var isQueryOrChange: Bool {
        guard let tag = unsafe PQcmdStatus(self.pointer) else { return false }
        return unsafe strncmp(tag, "SELECT", 6) == 0 || strncmp(tag, "INSERT", 6) == 0
            || strncmp(tag, "UPDATE", 6) == 0 || strncmp(tag, "DELETE", 6) == 0 || strncmp(tag, "MERGE", 5) == 0
    }

    /// A row or a column as libpq counts them: whoever asks has held it below their number, which has 32 bits.
    private static func place(_ index: Int) -> Int32 { Int32(truncatingIfNeeded: index) }

    func columnName(_ column: Int) -> String {
        guard let name = unsafe PQfname(self.pointer, Self.place(column)) else { return "" }
        return unsafe String(cString: name)
    }

    func columnIndex(_ name: String) -> Int? {
        unsafe name.withCString { name in
            for column in 0..<self.columnCount {
                if let found = unsafe PQfname(self.pointer, Self.place(column)), unsafe strcmp(found, name) == 0 {
                    return column
                }
            }
            return nil
        }
    }

    func typeOID(_ column: Int) -> UInt32 { unsafe PQftype(self.pointer, Self.place(column)) }
    func isBinary(_ column: Int) -> Bool { unsafe PQfformat(self.pointer, Self.place(column)) == 1 }
    func isNull(row: Int, column: Int) -> Bool {
        unsafe PQgetisnull(self.pointer, Self.place(row), Self.place(column)) == 1
    }

    /// Lends the bytes of one value.
    func withBytes<R>(row: Int, column: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        let length = unsafe Int(truncatingIfNeeded: PQgetlength(self.pointer, Self.place(row), Self.place(column)))
        let start = unsafe PQgetvalue(self.pointer, Self.place(row), Self.place(column))
        return unsafe body(UnsafeRawBufferPointer(start: start, count: length))
    }

    /// The value as text; for results in text format.
    func text(row: Int, column: Int) -> String {
        unsafe self.withBytes(row: row, column: column) { unsafe String(decoding: $0, as: UTF8.self) }
    }

    func errorField(_ code: Int32) -> String? {
        guard let text = unsafe PQresultErrorField(self.pointer, code) else { return nil }
        return unsafe String(cString: text)
    }
}

/// The field codes of `PQresultErrorField`, which C spells as character constants.
enum ErrorField {
    static let severity = Self.code("V")
    static let sqlState = Self.code("C")
    static let message = Self.code("M")
    static let detail = Self.code("D")
    static let hint = Self.code("H")
    static let constraint = Self.code("n")
    static let position = Self.code("P")

    private static func code(_ letter: Unicode.Scalar) -> Int32 { Int32(truncatingIfNeeded: letter.value) }
}

extension PostgresError {
    /// Whether a prepared statement's plan or the types of its binds may no longer fit, or someone has deallocated it.
    var mayHaveStalePlan: Bool { ["0A000", "26000", "42804"].contains(self.sqlState) }

    /// Whether the session's role or path may be of a tenant that has been dropped and made anew under the same name.
    var mayHaveStaleLabel: Bool { ["42P01", "42501", "3F000", "42704"].contains(self.sqlState) }

    /// Whether the server cannot write the type of a column in binary form, or a function is missing.
    var mayLackBinaryForm: Bool { self.sqlState == "42883" }

    /// The error that a failed result reports.
    static func rejected(_ result: ResultHandle, statement: String?) -> PostgresError {
        let state = result.errorField(ErrorField.sqlState)
        let words = [ErrorField.message, ErrorField.detail, ErrorField.hint].compactMap { result.errorField($0) }
        // Class 57P0x: the server is going down or the backend was terminated.
        let code: Code =
            switch state {
            case "57P01", "57P02", "57P03", "57P05": .connectionLost
            case nil: .connectionLost
            default: .rejectedByServer
            }
        var error = PostgresError(
            code, sqlState: state, severity: result.errorField(ErrorField.severity),
            constraint: result.errorField(ErrorField.constraint), serverMessage: words.joined(separator: " | "),
            statement: statement)
        error.primaryMessage = result.errorField(ErrorField.message)
        error.detail = result.errorField(ErrorField.detail)
        error.hint = result.errorField(ErrorField.hint)
        error.position = result.errorField(ErrorField.position).flatMap(Int.init)
        return error
    }
}
