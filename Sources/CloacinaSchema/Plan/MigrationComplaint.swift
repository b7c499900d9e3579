/// One thing that is wrong with a migration file, or with a schema's history of it.
public struct MigrationComplaint: Sendable, Hashable, Encodable, CustomStringConvertible {
    /// The file.
    public let file: String
    /// The line, counted from 1; nil when it is the file as a whole.
    public let line: Int?
    /// A sentence for the reader; never holds SQL or values.
    public let reason: String

    package init(file: String, line: Int?, reason: String) {
        self.file = file
        self.line = line
        self.reason = reason
    }

    /// As `file:line: reason`.
    public var description: String { self.file + (self.line.map { ":\($0)" } ?? "") + ": " + self.reason }
}
