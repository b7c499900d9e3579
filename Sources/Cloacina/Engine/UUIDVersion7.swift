package import FoundationEssentials

extension UUID {
    /// Makes an id (RFC 9562, version 7) that begins with the time, so that new rows land at the end of an index.
    ///
    /// The time is that of the milliseconds and, in the twelve bits behind the version, of their 4,096th parts (the RFC's method 3,
    /// section 6.2): what one process makes one after the other is in that order. A time beyond the range counts as its end.
    package static func version7(
        at time: Date, using generator: inout some RandomNumberGenerator
    ) -> UUID {
        let latest: Double = 0xFFFF_FFFF_FFFF
        let exact = min(max(0, time.timeIntervalSince1970 * 1_000), latest)
        let milliseconds = UInt64(exact)  // can't trap: clamped to 48 bits above
        let part = UInt64((exact - Double(milliseconds)) * 4_096)  // can't trap: a fraction of 4,096
        let high = milliseconds << 16 | 0x7000 | part
        let low = 0x8000_0000_0000_0000 | (generator.next() & 0x3FFF_FFFF_FFFF_FFFF)
        func byte(_ word: UInt64, _ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: word >> (56 - 8 * index)) }
        return UUID(
            uuid: (
                byte(high, 0), byte(high, 1), byte(high, 2), byte(high, 3), byte(high, 4), byte(high, 5), byte(high, 6),
                byte(high, 7), byte(low, 0), byte(low, 1), byte(low, 2), byte(low, 3), byte(low, 4), byte(low, 5),
                byte(low, 6), byte(low, 7)
            ))
    }

    /// Makes a version 7 id of a time.
    package static func version7(at time: Date) -> UUID {
        var generator = SystemRandomNumberGenerator()
        return self.version7(at: time, using: &generator)
    }

    /// Makes a version 7 id of now.
    package static func version7() -> UUID {
        var generator = SystemRandomNumberGenerator()
        return self.version7(at: Date(), using: &generator)
    }
}
