/// A migration file cut at its marker lines.
///
/// A marker is a line comment with a line to itself; what looks like one inside a quotation or a block comment is data.
struct MigrationSections {
    /// The text between one marker and the next.
    struct Section {
        let range: Range<Int>
        /// The marker's line.
        let line: Int
    }

    private(set) var up: Section?
    private(set) var down: Section?
    private(set) var verify: Section?
    private(set) var noTransactionLine: Int?
    private(set) var complaints: [SQLTextError] = []
    private var current: Marker?
    private let text: MigrationText
    private let dialect: SQLDialect

    private enum Marker: String, CaseIterable {
        case up
        case down
        case verify
        case noTransaction = "no-transaction"

        static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }
    }

    init(_ text: MigrationText, dialect: SQLDialect) {
        self.text = text
        self.dialect = dialect
        var markers: [(marker: Marker, comment: SQLScanner.LineComment)] = []
        for comment in text.comments {
            do throws(SQLTextError) {
                if let marker = try self.marker(comment) { markers.append((marker, comment)) }
            } catch {
                self.complaints.append(error)
            }
        }
        let starts = markers.map(\.comment.start) + [text.bytes.count]
        self.checkHead(0..<starts[0], hasMarkers: !markers.isEmpty)
        for (index, (marker, comment)) in markers.enumerated() {
            let range = self.lineEnd(after: comment.end)..<starts[index + 1]
            do throws(SQLTextError) {
                try self.open(marker, Section(range: range, line: comment.line))
            } catch {
                self.complaints.append(error)
            }
        }
        if self.up == nil, self.complaints.isEmpty {
            self.complaints.append(SQLTextError(reason: "no `-- migrate:up` section", line: 1))
        }
    }

    /// Reads the statements of a section.
    func scanner(_ section: Section) -> SQLScanner {
        SQLScanner(self.text.bytes, range: section.range, dialect: self.dialect, firstLine: section.line + 1)
    }

    private mutating func open(_ marker: Marker, _ section: Section) throws(SQLTextError) {
        let repeated = SQLTextError(reason: "a second `-- migrate:\(marker.rawValue)`", line: section.line)
        defer { self.current = marker == .noTransaction ? .up : marker }
        switch marker {
        case .up:
            guard self.up == nil || (self.noTransactionLine == self.up?.line && self.isBlank(self.up)) else {
                throw repeated
            }
            self.up = section
        case .down:
            guard self.down == nil else { throw repeated }
            self.down = section
        case .verify:
            guard self.verify == nil else { throw repeated }
            self.verify = section
        case .noTransaction:
            guard self.noTransactionLine == nil else { throw repeated }
            guard self.current == nil || (self.current == .up && self.isBlank(self.up)) else {
                throw SQLTextError(
                    reason: "`-- migrate:no-transaction` comes before the statement it is about", line: section.line)
            }
            self.noTransactionLine = section.line
            self.up = section
        }
    }

    private mutating func checkHead(_ range: Range<Int>, hasMarkers: Bool) {
        guard hasMarkers else { return }
        var scanner = SQLScanner(self.text.bytes, range: range, dialect: self.dialect)
        let line: Int?
        do throws(SQLTextError) { line = try scanner.next()?.line } catch { line = error.line }
        guard let line else { return }
        self.complaints.append(
            SQLTextError(reason: "only comments may come before the first `-- migrate:` line", line: line))
    }

    private func isBlank(_ section: Section?) -> Bool {
        guard let section else { return true }
        var scanner = self.scanner(section)
        do throws(SQLTextError) { return try scanner.next() == nil } catch { return false }
    }

    private func lineEnd(after end: Int) -> Int {
        let bytes = self.text.bytes
        guard end < bytes.count else { return end }
        let isPair = bytes[end] == UInt8(ascii: "\r") && end + 1 < bytes.count && bytes[end + 1] == UInt8(ascii: "\n")
        return end + (isPair ? 2 : 1)
    }

    /// The marker a comment is; throws on one that is nearly a marker, which would otherwise be a harmless comment.
    private func marker(_ comment: SQLScanner.LineComment) throws(SQLTextError) -> Marker? {
        let words = String(decoding: self.text.bytes[(comment.start + 2)..<comment.end], as: UTF8.self)[...]
            .trimmingBlanks()
        if words.hasPrefix("migrate:") {
            let rest = words.dropFirst("migrate:".count)
            let name = rest.prefix { !$0.isWhitespace }
            guard !name.isEmpty else { return try Self.refuseNearMarker(rest.trimmingBlanks(), line: comment.line) }
            guard let marker = Marker(rawValue: String(name)) else {
                throw SQLTextError(reason: "`-- migrate:` is followed by none of \(Marker.list)", line: comment.line)
            }
            guard name.count == rest.count else {
                throw SQLTextError(
                    reason: "`-- migrate:\(marker.rawValue)` has its line to itself; a file for what can't run in a "
                        + "transaction says `-- migrate:no-transaction`", line: comment.line)
            }
            return marker
        }
        let letters = words.lowercased().drop { !$0.isLetter }
        guard letters.hasPrefix("migrate") else { return nil }
        let name = letters.dropFirst("migrate".count).drop { !$0.isLetter }
        return try Self.refuseNearMarker(name.trimmingBlanks(), line: comment.line)
    }

    private static func refuseNearMarker(_ name: Substring, line: Int) throws(SQLTextError) -> Marker? {
        guard let marker = Marker(rawValue: String(name)) else { return nil }
        throw SQLTextError(reason: "write `-- migrate:\(marker.rawValue)` exactly so", line: line)
    }
}

extension Substring {
    fileprivate func trimmingBlanks() -> Substring {
        var rest = drop(while: \.isWhitespace)
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return rest
    }
}
