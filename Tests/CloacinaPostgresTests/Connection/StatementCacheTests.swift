import Testing

@testable import CloacinaPostgres

@Suite struct StatementCacheTests {
    private func key(_ sql: String, label: Int = 0, types: [UInt32] = []) -> StatementCache.Key {
        StatementCache.Key(label: label, types: types, sql: sql)
    }

    @Test func theStatementUnusedLongestGivesWay() {
        var cache = StatementCache(capacity: 2)
        #expect(cache.insert(self.key("a"), name: "n1") == nil)
        #expect(cache.insert(self.key("b"), name: "n2") == nil)
        #expect(cache.name(for: self.key("a")) == "n1")
        #expect(cache.insert(self.key("c"), name: "n3") == "n2")
        #expect(cache.name(for: self.key("b")) == nil)
        #expect(cache.count == 2)
    }

    @Test func textTypesAndLabelTellStatementsApart() {
        var cache = StatementCache(capacity: 8)
        let keys = [
            self.key("a"), self.key("b"), self.key("a", label: 1), self.key("a", types: [20]),
            self.key("a", types: [20, 0]),
        ]
        for (number, key) in keys.enumerated() { #expect(cache.insert(key, name: "n\(number)") == nil) }
        for (number, key) in keys.enumerated() { #expect(cache.name(for: key) == "n\(number)") }
    }

    @Test func namesAreNeverGivenTwice() {
        var cache = StatementCache(capacity: 1)
        var names: Set<String> = []
        for number in 0..<100 {
            let name = cache.makeName()
            #expect(names.insert(name).inserted)
            _ = cache.insert(self.key("\(number)"), name: name)
        }
        #expect(cache.removeAll().count == 1)
        #expect(names.insert(cache.makeName()).inserted)
    }

    @Test func aCapacityOfNothingStillHoldsOne() {
        var cache = StatementCache(capacity: -3)
        #expect(cache.insert(self.key("a"), name: "n") == nil)
        #expect(cache.name(for: self.key("a")) == "n")
        #expect(cache.insert(self.key("b"), name: "m") == "n")
        #expect(cache.name(for: self.key("a")) == nil)
    }
}
