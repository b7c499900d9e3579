import CLibPQBaseline

/// What a C program does with libpq: a blocking connection, used by one thread.
@safe struct BlockingConnection: ~Copyable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let pointer: OpaquePointer

    init(_ target: Target) throws {
        guard let pointer = unsafe PQconnectdb(target.connectionString) else {
            throw Failure(description: "out of memory")
        }
        guard unsafe PQstatus(pointer) == CONNECTION_OK else {
            defer { unsafe PQfinish(pointer) }
            throw unsafe Failure(description: String(cString: PQerrorMessage(pointer)))
        }
        unsafe self.pointer = pointer
    }

    deinit { unsafe PQfinish(self.pointer) }

    private func failure() -> Failure { unsafe Failure(description: String(cString: PQerrorMessage(self.pointer))) }

    /// Runs one statement, or several as one message, and throws the answer away.
    func execute(_ sql: String) throws {
        let result = unsafe PQexec(self.pointer, sql)
        defer { unsafe PQclear(result) }
        let status = unsafe PQresultStatus(result)
        guard status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK else { throw self.failure() }
    }

    func prepare(_ name: String, _ sql: String, types: [UInt32] = []) throws {
        let result = unsafe PQprepare(self.pointer, name, sql, Int32(types.count), types)
        defer { unsafe PQclear(result) }
        guard unsafe PQresultStatus(result) == PGRES_COMMAND_OK else { throw self.failure() }
    }

    /// Executes a prepared statement without binds and reads the number in its first column.
    func number(prepared name: String) throws -> Int32 {
        let result = unsafe PQexecPrepared(self.pointer, name, 0, nil, nil, nil, 1)
        defer { unsafe PQclear(result) }
        guard unsafe PQresultStatus(result) == PGRES_TUPLES_OK, let value = unsafe PQgetvalue(result, 0, 0) else {
            throw self.failure()
        }
        return unsafe UnsafeRawPointer(value).loadUnaligned(as: Int32.self).byteSwapped
    }

    func enterPipelineMode() throws {
        guard unsafe PQenterPipelineMode(self.pointer) == 1 else { throw self.failure() }
    }

    /// Sends a prepared statement once for each number, bound in binary, with one sync; returns the sum of the answers.
    func sumPipelined(prepared name: String, _ numbers: [Int64]) throws -> Int64 {
        for number in numbers {
            let sent = unsafe withUnsafeBytes(of: number.bigEndian) { bytes in
                let value = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                return unsafe PQsendQueryPrepared(self.pointer, name, 1, [value], [8], [1], 1)
            }
            guard sent == 1 else { throw self.failure() }
        }
        guard unsafe PQpipelineSync(self.pointer) == 1 else { throw self.failure() }
        var sum: Int64 = 0
        for _ in numbers {
            sum += try self.nextNumber()
            guard unsafe PQgetResult(self.pointer) == nil else { throw self.failure() }
        }
        let sync = unsafe PQgetResult(self.pointer)
        defer { unsafe PQclear(sync) }
        guard unsafe PQresultStatus(sync) == PGRES_PIPELINE_SYNC else { throw self.failure() }
        return sum
    }

    private func nextNumber() throws -> Int64 {
        let result = unsafe PQgetResult(self.pointer)
        defer { unsafe PQclear(result) }
        guard unsafe PQresultStatus(result) == PGRES_TUPLES_OK, let value = unsafe PQgetvalue(result, 0, 0) else {
            throw self.failure()
        }
        return unsafe UnsafeRawPointer(value).loadUnaligned(as: Int64.self).byteSwapped
    }
}
