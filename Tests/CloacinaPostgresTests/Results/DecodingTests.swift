import CLibPQ
import FoundationEssentials
import Testing

@testable import CloacinaPostgres

@Suite struct DecodingTests {
    /// A result as libpq would hand it over, with one row of binary values.
    private func row(_ values: [(type: UInt32, bytes: [UInt8]?)]) throws -> PostgresRow {
        let result = try unsafe #require(unsafe PQmakeEmptyPGresult(nil, PGRES_TUPLES_OK))
        var name = Array("c".utf8CString)
        let isFilled = unsafe name.withUnsafeMutableBufferPointer { name in
            var columns = unsafe values.map { value in
                unsafe PGresAttDesc(
                    name: name.baseAddress, tableid: 0, columnid: 0, format: 1, typid: value.type, typlen: -1,
                    atttypmod: -1)
            }
            guard unsafe PQsetResultAttrs(result, Int32(values.count), &columns) != 0 else { return false }
            for (index, value) in values.enumerated() {
                var bytes = (value.bytes ?? []).map { CChar(bitPattern: $0) } + [0]
                let length = value.bytes.map { Int32($0.count) } ?? -1
                guard unsafe PQsetvalue(result, 0, Int32(index), &bytes, length) != 0 else { return false }
            }
            return true
        }
        try #require(isFilled)
        return PostgresRows(unsafe ResultHandle(adopting: result))[0]
    }

    private func decode<T: PostgresDecodable>(_ type: UInt32, _ bytes: [UInt8]?, as: T.Type = T.self) throws -> T {
        try self.row([(type, bytes)]).value(at: 0)
    }

    private func array(_ type: UInt32, dimensions: Int32 = 1, count: Int32, _ elements: [UInt8] = []) -> [UInt8] {
        func bytes(_ int: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: int >> (24 - 8 * $0)) } }
        return bytes(UInt32(bitPattern: dimensions)) + [0, 0, 0, 0] + bytes(type) + bytes(UInt32(bitPattern: count)) + [
            0, 0, 0, 1,
        ]
            + elements
    }

    @Test func whatTheEncoderWritesIsReadBack() throws {
        let date = Date(postgresMicroseconds: 816_000_000_000_001)
        let values: [PostgresValue] = [
            .bool(true), .int16(.min), .int32(.min), .int64(.min), .oid(.max), .double(-0.5), .bytes([0, 1]),
            .uuid(BindEncoderTests.uuid),
            .timestamp(date), .json("{}"), .textArray(["", "x"]), .optionalTextArray([nil, "x"]),
            .int64Array([.min, .max]),
            .int32Array([-1]), .uuidArray([BindEncoderTests.uuid]), .boolArray([true, false]), .null,
            .timestamp(.distantPast),
        ]
        var encoder = BindEncoder()
        for value in values { encoder.append(value) }
        let row = try self.row(
            encoder.binds.map { bind in
                (
                    bind.type,
                    bind.offset < 0 ? nil : Array(encoder.bytes[bind.offset..<(bind.offset + Int(bind.length))])
                )
            })
        #expect(try row.value(at: 0) == true)
        #expect(try row.value(at: 1) == Int16.min)
        #expect(try row.value(at: 2) == Int32.min)
        #expect(try row.value(at: 3) == Int64.min)
        #expect(try row.value(at: 4) == UInt32.max)
        #expect(try row.value(at: 5) == -0.5)
        #expect(try row.value(at: 6) == [UInt8]([0, 1]))
        #expect(try row.value(at: 7) == BindEncoderTests.uuid)
        #expect(try row.value(at: 8, as: Date.self).postgresMicroseconds == 816_000_000_000_001)
        #expect(try row.value(at: 9) == "{}")
        #expect(try row.value(at: 10) == ["", "x"])
        #expect(try row.value(at: 11, as: [String?].self) == [nil, "x"])
        #expect(try row.value(at: 12) == [Int64.min, .max])
        #expect(try row.value(at: 13) == [Int32(-1)])
        #expect(try row.value(at: 14) == [BindEncoderTests.uuid])
        #expect(try row.value(at: 15) == [true, false])
        #expect(try row.value(at: 16, as: Int?.self) == nil)
        #expect(try row.value(at: 17) == Date.distantPast)
    }

    @Test func integersThatDoNotFitAndOtherTypesAreRefused() throws {
        let max = [0x7f] + [UInt8](repeating: 0xff, count: 7)
        #expect(try self.decode(20, max) == Int64.max)
        #expect(throws: PostgresError.self) { try self.decode(20, max, as: Int32.self) }
        #expect(throws: PostgresError.self) { try self.decode(20, max, as: String.self) }
        #expect(throws: PostgresError.self) { try self.decode(25, [0x31], as: Int.self) }
        #expect(throws: PostgresError.self) { try self.decode(20, nil, as: Int.self) }
        #expect(throws: PostgresError.self) { try self.decode(2950, [1, 2], as: UUID.self) }
        #expect(throws: PostgresError.self) { try self.decode(701, [1, 2], as: Double.self) }
        #expect(throws: PostgresError.self) { try self.row([(20, max)]).value(at: 1, as: Int.self) }
        #expect(throws: PostgresError.self) { try self.row([(20, max)]).value("nope", as: Int.self) }
    }

    @Test func anArrayThatLiesAboutItselfIsRefusedWithoutATrap() {
        let lies = [
            self.array(20, dimensions: -1, count: 1), self.array(20, count: -1), self.array(20, count: .max),
            self.array(20, count: 1), self.array(20, count: 1, [0, 0, 0, 9, 1]),
            self.array(20, count: 1, [0x7f, 0xff, 0xff, 0xff]),
            self.array(25, count: 0), self.array(20, dimensions: 2, count: 0), [], [0, 0, 0, 1],
            self.array(20, count: 1, [0xff, 0xff, 0xff, 0xff]),
        ]
        for lie in lies { #expect(throws: PostgresError.self) { try self.decode(1016, lie, as: [Int].self) } }
    }

    @Test func descriptionsLeaveOutWhatMayQuoteData() {
        struct Beneath: Error {}
        let error = PostgresError(
            .rejectedByServer, sqlState: "23505", severity: "ERROR", constraint: "t_pkey", advice: "advice",
            serverMessage: "Key (a)=(geheim)", statement: "SELECT 'geheim'", statementIndex: 3, underlying: Beneath(),
            fileID: "M/F.swift", line: 7)
        #expect(error.description == "PostgreSQL: rejectedByServer (SQLSTATE 23505, ERROR), constraint t_pkey: advice")
        for part in ["geheim", "SELECT", "M/F.swift:7", "Beneath", "3"] {
            #expect(error.debugDescription.contains(part))
        }
        #expect(PostgresError(.cancelled).description == "PostgreSQL: cancelled")
        #expect("\(PostgresConfiguration("postgresql://u:geheim@h/d"))".contains("geheim") == false)
    }
}
