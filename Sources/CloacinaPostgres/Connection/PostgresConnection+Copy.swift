import CLibPQ
import FoundationEssentials
import Glibc

extension PostgresConnection {
    /// Loads rows by `COPY … FROM STDIN`, PostgreSQL's fastest way in. All rows arrive or none.
    ///
    /// - Parameters:
    ///   - table: The table's name, quoted by this call; unqualified, so that the search path decides.
    ///   - columns: The columns that the rows' values belong to, in order.
    ///   - rows: Values of each row; text, numbers, booleans, dates, UUIDs and JSON.
    /// - Returns: The number of rows that arrived.
    /// - Throws: ``PostgresError``; ``PostgresError/Code/invalidValue`` for a row of another length or a type that has no
    ///   text form here, with nothing loaded.
    public func copyIn(
        table: String, columns: [String], rows: some Sequence<[PostgresValue]> & Sendable, fileID: String = #fileID,
        line: Int = #line
    ) async throws(PostgresError) -> Int {
        try await self.copyIn(table: table, columns: columns, rows: rows, scope: nil, fileID: fileID, line: line)
    }

    func copyIn(
        table: String, columns: [String], rows: some Sequence<[PostgresValue]> & Sendable, scope: LeaseScope?,
        fileID: String, line: Int
    ) async throws(PostgresError) -> Int {
        guard let scope else {
            return try await self.copyBound(
                table: table, columns: columns, rows: rows, scope: nil, fileID: fileID, line: line)
        }
        // COPY can't travel in a pipeline, so the label is bound beforehand: behind a pooler in a transaction around
        // it.
        guard self.pooler == .direct || self.report.current.contains(.inTransaction) else {
            try await self.begin(scope: scope, isolation: nil, fileID, line)
            let loaded: Int
            do {
                loaded = try await self.copyBound(
                    table: table, columns: columns, rows: rows, scope: scope, fileID: fileID, line: line)
            } catch {
                self.rollBack()
                throw error
            }
            try self.commit(fileID, line)
            return loaded
        }
        let probe = PostgresStatement(trusted: "SELECT 1")
        _ = try await self.pipeline([probe], scope: scope, deadline: nil, fileID: fileID, line: line)
        return try await self.copyBound(
            table: table, columns: columns, rows: rows, scope: scope, fileID: fileID, line: line)
    }

    private func copyBound(
        table: String, columns: [String], rows: some Sequence<[PostgresValue]> & Sendable, scope: LeaseScope?,
        fileID: String, line: Int
    ) async throws(PostgresError) -> Int {
        let names = columns.map(PostgresIdentifier.quote).joined(separator: ", ")
        let sql = "COPY \(PostgresIdentifier.quote(table)) (\(names)) FROM STDIN"
        return try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            guard connection.handle.isOpen else { throw PostgresError(.connectionClosed) }
            guard !sql.utf8.contains(0) else {
                throw PostgresError(.invalidValue, advice: "a name holds a NUL character")
            }
            // The table's triggers are the caller's own SQL.
            if let scope { connection.noteForeignSQL(in: scope.number) }
            return try connection.withoutPipelineMode { connection throws(PostgresError) in
                try connection.copy(sql, width: columns.count, rows)
            }
        }
    }

    private func copy(
        _ sql: String, width: Int, _ rows: some Sequence<[PostgresValue]>
    ) throws(PostgresError) -> Int {
        guard self.handle.sendQuery(sql) else { throw self.broken() }
        var wait = StatementWait(deadline: nil)
        guard let start = try self.nextResult(&wait) else { throw self.broken() }
        guard start.status == PGRES_COPY_IN else {
            let failure = PostgresError.rejected(start, statement: sql)
            while try self.nextResult(&wait) != nil {}
            try self.finishCancelling(wait)
            throw wait.translate(failure)
        }
        var refusal: PostgresError?
        do {
            try self.sendRows(rows, width: width, &wait)
        } catch {
            guard self.handle.isOpen else { throw error }
            refusal = error
        }
        let loaded = try self.endCopy(refusal, sql, &wait)
        return loaded
    }

    private func sendRows(
        _ rows: some Sequence<[PostgresValue]>, width: Int, _ wait: inout StatementWait
    ) throws(PostgresError) {
        var buffer: [UInt8] = []
        for (number, row) in rows.enumerated() {
            guard row.count == width else {
                throw PostgresError(
                    .invalidValue, advice: "row \(number) has \(row.count) values for \(width) columns")
            }
            for (column, value) in row.enumerated() {
                if column > 0 { buffer.append(UInt8(ascii: "\t")) }
                guard !value.isTooLong else {
                    throw PostgresError(.invalidValue, advice: "row \(number), column \(column): longer than 1 GB")
                }
                guard CopyText.append(value, to: &buffer) else {
                    throw PostgresError(
                        .invalidValue, advice: "row \(number), column \(column): no text form, or a NUL character")
                }
            }
            buffer.append(UInt8(ascii: "\n"))
            if buffer.count >= 64 * 1024 { try self.put(&buffer, &wait) }
        }
        try self.put(&buffer, &wait)
    }

    private func put(_ buffer: inout [UInt8], _ wait: inout StatementWait) throws(PostgresError) {
        var start = 0
        while start < buffer.count {
            // In pieces: libpq counts in 32 bits, and a row may be longer.
            let end = min(buffer.count, start + Self.bytesPerPiece)
            switch self.handle.putCopyData(buffer[start..<end]) {
            case 1:
                start = end
                try self.drain(&wait)
            case 0: try self.waitForSocket(writing: true, &wait)
            default: throw self.broken()
            }
        }
        buffer.removeAll(keepingCapacity: true)
    }

    private static var bytesPerPiece: Int { 1 << 20 }

    /// Waits until the socket has taken everything, so that rows don't pile up in memory.
    private func drain(_ wait: inout StatementWait) throws(PostgresError) {
        while true {
            let pending = self.interrupt.pending
            if pending.contains(.close) {
                throw self.broken(PostgresError(.connectionClosed, advice: "it was aborted"))
            }
            if wait.reason != nil || pending.contains(.cancel) {
                throw PostgresError(.cancelled, advice: "nothing was loaded")
            }
            let unsent = self.handle.flush()
            if unsent == 0 { return }
            guard unsent > 0 else { throw self.broken() }
            try self.waitForSocket(writing: true, &wait)
            guard self.handle.consumeInput() else { throw self.broken() }
        }
    }

    private func endCopy(
        _ refusal: PostgresError?, _ sql: String, _ wait: inout StatementWait
    ) throws(PostgresError) -> Int {
        while true {
            let taken = self.handle.putCopyEnd(error: refusal == nil ? nil : "refused by the client")
            if taken == 1 { break }
            if taken < 0 { throw self.broken() }
            try self.waitForSocket(writing: true, &wait)
        }
        var failure: PostgresError?
        var loaded = 0
        while let result = try self.nextResult(&wait) {
            if result.status == PGRES_COMMAND_OK {
                loaded = result.affectedRows
            } else {
                failure = failure ?? PostgresError.rejected(result, statement: sql)
            }
        }
        try self.finishCancelling(wait)
        if let refusal { throw refusal }
        if let failure { throw wait.translate(failure) }
        return loaded
    }
}

/// The text format of `COPY`.
enum CopyText {
    /// Appends a value; false when it has no text form here.
    static func append(_ value: PostgresValue, to buffer: inout [UInt8]) -> Bool {
        switch value {
        case .null: buffer.append(contentsOf: "\\N".utf8)
        case .bool(let bool): buffer.append(UInt8(ascii: bool ? "t" : "f"))
        case .int16(let int): buffer.append(contentsOf: String(int).utf8)
        case .int32(let int): buffer.append(contentsOf: String(int).utf8)
        case .int64(let int): buffer.append(contentsOf: String(int).utf8)
        case .oid(let oid): buffer.append(contentsOf: String(oid).utf8)
        case .double(let double): buffer.append(contentsOf: Self.text(double).utf8)
        case .text(let text), .json(let text): return Self.append(escaping: text, to: &buffer)
        case .uuid(let uuid): buffer.append(contentsOf: uuid.uuidString.utf8)
        case .timestamp(let date): buffer.append(contentsOf: Self.text(date.postgresMicroseconds).utf8)
        case .bytes(let bytes):
            buffer.append(contentsOf: "\\\\x".utf8)
            let digits = Array("0123456789abcdef".utf8)
            for byte in bytes {
                buffer.append(digits[Int(byte >> 4)])  // can't trap: half a byte
                buffer.append(digits[Int(byte & 15)])  // can't trap: half a byte
            }
        default: return false
        }
        return true
    }

    private static func append(escaping text: String, to buffer: inout [UInt8]) -> Bool {
        for byte in text.utf8 {
            switch byte {
            case 0: return false
            case UInt8(ascii: "\\"): buffer.append(contentsOf: "\\\\".utf8)
            case UInt8(ascii: "\n"): buffer.append(contentsOf: "\\n".utf8)
            case UInt8(ascii: "\r"): buffer.append(contentsOf: "\\r".utf8)
            case UInt8(ascii: "\t"): buffer.append(contentsOf: "\\t".utf8)
            default: buffer.append(byte)
            }
        }
        return true
    }

    private static func text(_ double: Double) -> String {
        if double.isNaN { return "NaN" }
        if double.isInfinite { return double < 0 ? "-Infinity" : "Infinity" }
        return "\(double)"
    }

    /// A timestamp as PostgreSQL reads it back exactly, in UTC.
    static func text(_ microsecondsSince2000: Int64) -> String {
        CalendarText.timestamp(microsecondsSince2000, zone: "+00", trimmed: false)
    }
}
