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

    @Test func aLabelsStatementsGoTogether() {
        var cache = StatementCache(capacity: 8, prefix: "mine_")
        _ = cache.insert(self.key("a", label: 1), name: "n1")
        _ = cache.insert(self.key("b", label: 1), name: "n2")
        _ = cache.insert(self.key("a", label: 2), name: "n3")
        #expect(Set(cache.removeAll(label: 1)) == ["n1", "n2"])
        #expect(cache.name(for: self.key("a", label: 1)) == nil)
        #expect(cache.name(for: self.key("a", label: 2)) == "n3")
        #expect(cache.makeName().hasPrefix("mine_"))
    }
}

@Suite struct LabelPlansTests {
    @Test func labelsShareNoPlaceAndWhoComesTooLateGetsNone() {
        var plans = LabelPlans(limit: 2)
        let indexes = ["a", "b", "c", "a"].map { plans.index(of: PostgresLabel(schema: $0)).index }
        #expect(indexes[0] != nil && indexes[1] != nil && indexes[0] != indexes[1])
        #expect(indexes[2] == nil)
        #expect(indexes[3] == indexes[0])
    }

    @Test func aLabelThatIsNotUsedAnyMoreGivesItsPlaceToAnother() {
        var plans = LabelPlans(limit: 2)
        let first = plans.index(of: PostgresLabel(schema: "a")).index
        for _ in 0..<5000 { _ = plans.index(of: PostgresLabel(schema: "b")) }
        let late = plans.index(of: PostgresLabel(schema: "c"))
        #expect(late.evicted == first)
        #expect(late.index != nil && late.index != first)
        let back = plans.index(of: PostgresLabel(schema: "a"))
        #expect(back.index == nil && back.evicted == nil)
    }
}
