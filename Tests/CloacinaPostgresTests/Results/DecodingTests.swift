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
        #expect(try row.value(at: 5, as: Double.self) == -0.5)
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

    private func bytes(_ hex: String) -> [UInt8] {
        let digits = Array(hex.utf8).map { $0 >= 97 ? $0 - 87 : $0 - 48 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Binary forms as PostgreSQL 15's `…_send` functions write them.
    static let texts: [(type: UInt32, hex: String, text: String)] = [
        (1700, "0003000140000004000109291a2c", "-12345.6700"), (1700, "0001fffe0000000503e8", "0.00001"),
        (1700, "00010005000000000001", "100000000000000000000"), (1700, "0000000000000003", "0.000"),
        (1700, "00010002000000000001", "100000000"), (1700, "00000000c0000000", "NaN"),
        (1700, "00000000f0000020", "-Infinity"), (1700, "0002000000000002001326ac", "19.99"),
        (1700, "0003000100000004000100000001", "10000.0001"),
        (1186, "000000036c97ca88000000030000000e", "P1Y2M3DT4H5M6.789S"),
        (1186, "fffffffc9368357800000003fffffff2", "P-1Y-2M3DT-4H-5M-6.789S"),
        (1186, "00000000000000000000000000000000", "PT0S"), (1186, "00000000000000000000001e00000000", "P30D"),
        (1186, "fffffffffff85ee00000000000000000", "PT-0.5S"),
        (1186, "0000000000000000ffffffff00000001", "P1M-1D"), (1186, "ffffffeb0b94fc000000000000000000", "PT-25H"),
        (1186, "000000000000000000000000fffffff3", "P-1Y-1M"),
        (1186, "8000000000000000800000007fffffff", "P178956970Y7M-2147483648DT-2562047788H-54.775808S"),
        (1114, "0002b33b63123000", "2024-01-31 12:00:00"), (1114, "ff1af9dfca4a7690", "0044-03-15 01:02:03.45 BC"),
        (1114, "7fffffffffffffff", "infinity"), (1114, "0380e70b913b8000", "10000-01-01 00:00:00"),
        (1114, "fffca2fec4c81fff", "1969-12-31 23:59:59.999999"), (1184, "0002b33b63123000", "2024-01-31 12:00:00+00"),
        (1082, "00002279", "2024-02-29"), (1082, "80000000", "-infinity"), (1082, "fff4da8b", "0001-01-01 BC"),
        (1083, "000000036c966ee0", "04:05:06.7"), (1266, "000000036c966ee0ffffb2a8", "04:05:06.7+05:30"),
        (142, "3c612f3e", "<a/>"),
    ]

    @Test(arguments: texts) func whatHasATextIsReadAsThatText(type: UInt32, hex: String, text: String) throws {
        #expect(try self.decode(type, self.bytes(hex), as: String.self) == text)
    }

    @Test func numbersAndDatesAreExact() throws {
        let price = self.bytes("0002000000000002001326ac")
        #expect(try self.decode(1700, price, as: Decimal.self) == Decimal(string: "19.99"))
        #expect(
            try self.decode(1700, self.bytes("0003000140000004000109291a2c"), as: Decimal.self)
                == Decimal(string: "-12345.67"))
        #expect(try self.decode(1700, self.bytes("00000000c0000000"), as: Decimal.self).isNaN)
        #expect(try self.decode(1700, self.bytes("0000000000000003"), as: Decimal.self) == 0)
        #expect(try self.decode(20, [0, 0, 0, 0, 0, 0, 0, 7], as: Decimal.self) == 7)
        #expect(try self.decode(1700, self.bytes("00010002000000000001"), as: Int.self) == 100_000_000)
        #expect(throws: PostgresError.self) { try self.decode(1700, price, as: Int.self) }
        #expect(throws: PostgresError.self) {
            try self.decode(1700, self.bytes("00010005000000000001"), as: Int.self)
        }
        // Forty digits don't fit a Decimal.
        let long = self.bytes("000a000900000000" + String(repeating: "270f", count: 10))
        #expect(throws: PostgresError.self) { try self.decode(1700, long, as: Decimal.self) }
        #expect(try self.decode(1700, long, as: String.self) == String(repeating: "9", count: 40))
        #expect(
            try self.decode(1082, self.bytes("00002279"), as: Date.self) == Date(timeIntervalSince1970: 1_709_164_800))
        #expect(try self.decode(1082, self.bytes("7fffffff"), as: Date.self) == .distantFuture)
        // 5874897-12-31, the last date of all: its microseconds don't fit 64 bits.
        #expect(
            try self.decode(1082, self.bytes("7fda970c"), as: Date.self)
                == Date(timeIntervalSince1970: 185_331_706_992_000))
        #expect(
            try self.decode(1114, self.bytes("0002b33b63123000"), as: Date.self)
                == Date(timeIntervalSince1970: 1_706_702_400))
        let array = self.bytes("0000000100000001000006a400000002000000010000000c000200000000000100011388ffffffff")
        #expect(try self.decode(1231, array, as: [String?].self) == ["1.5", nil])
        #expect(throws: PostgresError.self) { try self.decode(1231, array, as: [Decimal].self) }
    }

    static let lies: [(type: UInt32, hex: String)] = [
        (1700, ""), (1700, "7fff000000000000"), (1700, "ffff000000000000"), (1700, "00010000000000007fff"),
        (1700, "0000000012340000"), (1082, "01"), (1083, "7fffffffffffffff"), (1186, "00"),
        (1266, "000000000000000080000000"),
    ]

    @Test(arguments: lies)
    func bytesThatAreNoValueAreRefusedWithoutATrap(type: UInt32, hex: String) {
        #expect(throws: PostgresError.self) { try self.decode(type, self.bytes(hex), as: String.self) }
    }

    @Test func aValueThatCannotBeReadNamesColumnTypeAndCast() throws {
        let error = #expect(throws: PostgresError.self) { try self.decode(3908, [1], as: String.self) }
        let text = try #require(error).description
        for part in ["column c", "tsrange", "3908", "c::text"] { #expect(text.contains(part)) }
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
