extension JSONValue {
    /// Whether the values are the same, numbers by value.
    func isSame(as other: JSONValue) -> Bool {
        switch (self, other) {
        case (.array(let left), .array(let right)):
            left.count == right.count && zip(left, right).allSatisfy { $0.isSame(as: $1) }
        case (.object(let left), .object(let right)):
            left.count == right.count
                && left.allSatisfy { key, value in right[key].map { value.isSame(as: $0) } ?? false }
        case (.integer, .double), (.double, .integer), (.number, .double), (.double, .number):
            self.order(comparedTo: other) == 0
        default: self == other
        }
    }

    /// Whether a text has the other text in it, or an array the other value.
    func contains(_ other: JSONValue) -> Bool {
        switch (self, other) {
        case (.string(let text), .string(let part)): text.containsRun(of: Array(part))
        case (.array(let elements), _): elements.contains { $0.isSame(as: other) }
        default: false
        }
    }

    /// What a comparison of two texts says; false for other types.
    func texts(_ other: JSONValue, _ comparison: (String, String) -> Bool) -> Bool {
        guard case .string(let left) = self, case .string(let right) = other else { return false }
        return comparison(left, right)
    }

    /// Below 0 when this value comes first, above 0 when the other does, 0 when neither; nil when they have no order.
    func order(comparedTo other: JSONValue) -> Int? {
        switch (self, other) {
        case (.integer(let left), .integer(let right)): Self.order(left, right)
        case (.double(let left), .double(let right)):
            left.isNaN || right.isNaN ? nil : Self.order(left, right)
        case (.integer(let left), .double(let right)): Self.order(left, right)
        case (.double(let left), .integer(let right)): Self.order(right, left).map { -$0 }
        case (.number, .number), (.number, .integer), (.integer, .number): self.orderOfDigits(comparedTo: other)
        case (.number, .double(let right)):
            right.isInfinite ? (right > 0 ? -1 : 1) : self.orderOfDigits(comparedTo: other)
        case (.double, .number): other.order(comparedTo: self).map { -$0 }
        case (.string(let left), .string(let right)):
            if let leftDate = DateText(left), let rightDate = DateText(right) {
                Self.order(leftDate, rightDate)
            } else {
                Self.order(left, right)
            }
        default: nil
        }
    }

    /// Exactly, with a `Double` as the number that its text says.
    private func orderOfDigits(comparedTo other: JSONValue) -> Int? {
        guard let left = self.decimalDigits, let right = other.decimalDigits else { return nil }
        return Self.order(left, right)
    }

    private static func order<Value: Comparable>(_ left: Value, _ right: Value) -> Int {
        left == right ? 0 : left < right ? -1 : 1
    }

    /// Exactly: neither is rounded to the other's type.
    private static func order(_ left: Int64, _ right: Double) -> Int? {
        if right.isNaN { return nil }
        if right >= 0x1p63 { return -1 }
        if right < -0x1p63 { return 1 }
        let whole = right.rounded(.down)
        // can't trap: the bounds were looked at above
        let order = self.order(left, Int64(whole))
        return order == 0 && whole < right ? -1 : order
    }
}
