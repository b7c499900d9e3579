/// Which labels have prepared statements of their own on a connection. A pure value.
///
/// A prepared statement is never shared between labels: the types of its binds and columns are those of the tenant that
/// it was prepared for. Who finds no place runs unprepared until a label that has one is not used any more.
struct LabelPlans {
    private struct Place {
        var index: Int
        var lastUse: UInt64
    }

    /// How many uses of other labels take a label's place away.
    private static var patience: UInt64 { 4096 }

    let limit: Int
    private var places: [PostgresLabel: Place] = [:]
    private var uses: UInt64 = 0
    private var indexesGiven = 0

    init(limit: Int) { self.limit = max(1, limit) }

    /// The number under which the label's statements are kept, or `nil`; and the number whose statements gave way to
    /// it.
    mutating func index(of label: PostgresLabel) -> (index: Int?, evicted: Int?) {
        self.uses &+= 1
        if let found = self.places.index(forKey: label) {
            self.places.values[found].lastUse = self.uses
            return (self.places.values[found].index, nil)
        }
        var evicted: Int?
        if self.places.count >= self.limit {
            guard let oldest = self.places.min(by: { $0.value.lastUse < $1.value.lastUse }),
                self.uses - oldest.value.lastUse > Self.patience
            else { return (nil, nil) }
            evicted = oldest.value.index
            self.places[oldest.key] = nil
        }
        self.indexesGiven += 1
        self.places[label] = Place(index: self.indexesGiven, lastUse: self.uses)
        return (self.indexesGiven, evicted)
    }
}
