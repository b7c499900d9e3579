import FoundationEssentials
import Testing

@testable import CloacinaPostgres

@Suite struct CopyTextTests {
    private func text(_ value: PostgresValue) -> String? {
        var buffer: [UInt8] = []
        return CopyText.append(value, to: &buffer) ? String(decoding: buffer, as: UTF8.self) : nil
    }

    @Test(arguments: [
        (PostgresValue.null, "\\N"), (.text("\\N"), "\\\\N"), (.text("a\tb\nc\rd\\"), "a\\tb\\nc\\rd\\\\"),
        (.text(""), ""),
        (.text("\\."), "\\\\."), (.bool(true), "t"), (.bool(false), "f"), (.int64(.min), "-9223372036854775808"),
        (.double(.nan), "NaN"), (.double(-.infinity), "-Infinity"), (.bytes([0, 0xff]), "\\\\x00ff"),
        (.bytes([]), "\\\\x"),
        (.json("{\"a\":\"\\n\"}"), "{\"a\":\"\\\\n\"}"), (.oid(.max), "4294967295"), (.text("ü🐘"), "ü🐘"),
    ])
    func valuesAreEscaped(value: PostgresValue, expected: String) {
        #expect(self.text(value) == expected)
    }

    @Test(arguments: [PostgresValue.text("a\0"), .json("\0"), .int64Array([1]), .textArray(["a"])])
    func whatHasNoTextFormIsRefused(value: PostgresValue) {
        #expect(self.text(value) == nil)
    }

    @Test(arguments: [
        (Int64(0), "2000-01-01 00:00:00.000000+00"), (-1, "1999-12-31 23:59:59.999999+00"),
        (-946_684_800_000_000, "1970-01-01 00:00:00.000000+00"),
        (-946_684_800_000_001, "1969-12-31 23:59:59.999999+00"),
        (5_097_600_000_000, "2000-02-29 00:00:00.000000+00"),
        (-63_082_281_600_000_000, "0001-01-01 00:00:00.000000+00"),
        (-63_082_281_600_000_001, "0001-12-31 23:59:59.999999+00 BC"), (.max, "infinity"), (.min, "-infinity"),
        (252_455_616_000_000_000, "10000-01-01 00:00:00.000000+00"),
        (.max - 1, "294277-01-09 04:00:54.775806+00"), (.min + 1, "290279-12-22 19:59:05.224193+00 BC"),
    ])
    func timestampsAreWrittenAsPostgresReadsThem(microseconds: Int64, expected: String) {
        #expect(CopyText.text(microseconds) == expected)
    }
}
