/// Where the boxes of a drawing are, in pixels: layers from left to right.
struct GraphLayout {
    /// How large a task's box is.
    struct Size {
        let width: Int
        let height: Int
    }

    static let layerGap = 56
    static let boxGap = 16
    static let bendGap = 10

    let order: LayeredOrder
    /// The left side of each layer.
    private(set) var layerX: [Int] = []
    /// The width of each layer.
    private(set) var layerWidth: [Int] = []
    /// The middle of each slot, from the top.
    private(set) var middle: [Int] = []
    /// The size of it all.
    private(set) var width = 0
    private(set) var height = 0

    init(_ tasks: TaskGraph, sizes: [Size]) {
        self.order = LayeredOrder(tasks)
        for layer in self.order.layers {
            let width = layer.reduce(0) { $1 < sizes.count ? max($0, sizes[$1].width) : $0 }
            self.layerX.append(self.width)
            self.layerWidth.append(width)
            self.width += width + Self.layerGap
        }
        self.width = max(0, self.width - Self.layerGap)
        self.placeVertically(sizes)
    }

    /// Puts slots level with those they are joined to, as far as their neighbours in the layer let them.
    private mutating func placeVertically(_ sizes: [Size]) {
        let offsets = self.order.layers.map { Self.offsets($0, sizes: sizes) }
        var places = [Double](repeating: 0, count: self.order.layerOf.count)
        for (layer, slots) in self.order.layers.enumerated() {
            let half = Double(offsets[layer].last ?? 0) / 2
            for (slot, offset) in zip(slots, offsets[layer]) { places[slot] = Double(offset) - half }
        }
        let forward = Array(self.order.layers.indices)
        let passes = [
            (forward, self.order.before), (forward.reversed(), self.order.after), (forward, self.order.before),
        ]
        for (layers, joined) in passes {
            for layer in layers {
                let slots = self.order.layers[layer]
                let wanted = zip(slots, offsets[layer]).map { slot, offset in
                    let neighbours = joined[slot]
                    let place =
                        neighbours.isEmpty
                        ? places[slot] : neighbours.reduce(0) { $0 + places[$1] } / Double(neighbours.count)
                    return place - Double(offset)
                }
                for ((slot, offset), place) in zip(zip(slots, offsets[layer]), Self.ascending(nearest: wanted)) {
                    places[slot] = place + Double(offset)
                }
            }
        }
        let half = places.indices.map { $0 < sizes.count ? Double(sizes[$0].height) / 2 : 0 }
        let top = zip(places, half).map { $0 - $1 }.min() ?? 0
        let bottom = zip(places, half).map { $0 + $1 }.max() ?? 0
        // can't trap: sums and means of heights, which the number of tasks bounds
        self.middle = places.map { Int(($0 - top).rounded()) }
        // can't trap: as large as all boxes above each other at most
        self.height = Int((bottom - top).rounded(.up))
    }

    /// How far below the first slot of a layer each one has to be at least.
    private static func offsets(_ slots: [Int], sizes: [Size]) -> [Int] {
        var offsets: [Int] = []
        for (index, slot) in slots.enumerated() {
            guard let last = offsets.last else {
                offsets.append(0)
                continue
            }
            let halves = [slots[index - 1], slot].map { $0 < sizes.count ? sizes[$0].height / 2 : 0 }
            let gap = slot < sizes.count || slots[index - 1] < sizes.count ? Self.boxGap : Self.bendGap
            offsets.append(last + halves[0] + halves[1] + gap)
        }
        return offsets
    }

    /// The numbers that never fall and are nearest to the given ones: neighbours in the wrong order meet at their mean.
    private static func ascending(nearest wanted: [Double]) -> [Double] {
        var groups: [(sum: Double, count: Int)] = []
        for value in wanted {
            var group = (sum: value, count: 1)
            while let last = groups.last, last.sum * Double(group.count) >= group.sum * Double(last.count) {
                group = (group.sum + last.sum, group.count + last.count)
                groups.removeLast()
            }
            groups.append(group)
        }
        return groups.flatMap { Array(repeating: $0.sum / Double($0.count), count: $0.count) }
    }
}
