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
    var rowCount: Int { unsafe Int(PQntuples(self.pointer)) }
    var columnCount: Int { unsafe Int(PQnfields(self.pointer)) }

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

    func columnName(_ column: Int) -> String {
        guard let name = unsafe PQfname(self.pointer, Int32(column)) else { return "" }
        return unsafe String(cString: name)
    }

    func columnIndex(_ name: String) -> Int? {
        for column in 0..<self.columnCount where self.columnIs(column, named: name) { return column }
        return nil
    }

    private func columnIs(_ column: Int, named name: String) -> Bool {
        guard let found = unsafe PQfname(self.pointer, Int32(column)) else { return false }
        return unsafe name.withCString { unsafe strcmp(found, $0) == 0 }
    }

    func typeOID(_ column: Int) -> UInt32 { unsafe PQftype(self.pointer, Int32(column)) }
    func isBinary(_ column: Int) -> Bool { unsafe PQfformat(self.pointer, Int32(column)) == 1 }
    func isNull(row: Int, column: Int) -> Bool { unsafe PQgetisnull(self.pointer, Int32(row), Int32(column)) == 1 }

    /// Lends the bytes of one value.
    func withBytes<R>(row: Int, column: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        let length = unsafe Int(PQgetlength(self.pointer, Int32(row), Int32(column)))
        let start = unsafe PQgetvalue(self.pointer, Int32(row), Int32(column))
        return unsafe body(UnsafeRawBufferPointer(start: start, count: length))
    }

    func errorField(_ code: Int32) -> String? {
        guard let text = unsafe PQresultErrorField(self.pointer, code) else { return nil }
        return unsafe String(cString: text)
    }
}

/// The field codes of `PQresultErrorField`, which C spells as character constants.
enum ErrorField {
    static let severity = Int32(UInt8(ascii: "V"))
    static let sqlState = Int32(UInt8(ascii: "C"))
    static let message = Int32(UInt8(ascii: "M"))
    static let detail = Int32(UInt8(ascii: "D"))
    static let hint = Int32(UInt8(ascii: "H"))
    static let constraint = Int32(UInt8(ascii: "n"))
}

extension PostgresError {
    /// Whether a prepared statement's plan no longer fits, or someone has deallocated it.
    var hasStalePlan: Bool { self.sqlState == "0A000" || self.sqlState == "26000" }

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
        return PostgresError(
            code, sqlState: state, severity: result.errorField(ErrorField.severity),
            constraint: result.errorField(ErrorField.constraint), serverMessage: words.joined(separator: " | "),
            statement: statement)
    }
}
