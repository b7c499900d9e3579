/// The tasks of a graph in layers, each after what it depends on, ordered inside the layers so that edges cross less.
///
/// An edge that passes over layers gets a bend in each of them, as long as there aren't many more bends than tasks and edges:
/// the work stays linear. Where a graph has circles, some edges lead back.
struct LayeredOrder {
    /// One edge, and the bends on its way.
    struct Route {
        let from: Int
        let to: Int
        let bends: [Int]
        let leadsBack: Bool
    }

    /// The slots of each layer: tasks by their position, and bends, which are numbered after the last task.
    private(set) var layers: [[Int]]
    /// The slots before each slot that an edge joins it to.
    private(set) var before: [[Int]]
    /// The slots after each slot that an edge joins it to.
    private(set) var after: [[Int]]
    private(set) var routes: [Route] = []
    /// The layer of each slot.
    private(set) var layerOf: [Int]

    init(_ tasks: TaskGraph) {
        let closing = tasks.linksClosingCircles()
        let open =
            closing.isEmpty
            ? tasks
            : TaskGraph(
                dependencies: tasks.dependencies.enumerated().map { task, dependencies in
                    dependencies.filter { !closing.contains(TaskLink(from: $0, to: task)) }
                })
        self.layers = open.levels
        self.layerOf = [Int](repeating: 0, count: tasks.count)
        self.before = [[Int]](repeating: [], count: tasks.count)
        self.after = self.before
        for (layer, members) in open.levels.enumerated() {
            for task in members { self.layerOf[task] = layer }
        }
        var budget = 2 * (tasks.count + tasks.dependencies.reduce(0) { $0 + $1.count })
        for (task, dependencies) in tasks.dependencies.enumerated() {
            for dependency in dependencies {
                let leadsBack = closing.contains(TaskLink(from: dependency, to: task))
                self.addRoute(from: dependency, to: task, leadsBack: leadsBack, budget: &budget)
            }
        }
        self.reduceCrossings()
    }

    private mutating func addRoute(from: Int, to: Int, leadsBack: Bool, budget: inout Int) {
        guard !leadsBack else {
            self.routes.append(Route(from: from, to: to, bends: [], leadsBack: true))
            return
        }
        let passed = (self.layerOf[from] + 1)..<self.layerOf[to]
        var bends: [Int] = []
        var last = from
        if passed.count <= budget {
            budget -= passed.count
            for layer in passed {
                let bend = self.layerOf.count
                self.layerOf.append(layer)
                self.layers[layer].append(bend)
                self.before.append([])
                self.after.append([])
                self.join(last, bend)
                bends.append(bend)
                last = bend
            }
        }
        self.join(last, to)
        self.routes.append(Route(from: from, to: to, bends: bends, leadsBack: false))
    }

    private mutating func join(_ left: Int, _ right: Int) {
        self.after[left].append(right)
        self.before[right].append(left)
    }

    /// Puts each slot where the slots it is joined to are on average (the barycentre), a few times in both directions.
    private mutating func reduceCrossings() {
        var places = [Double](repeating: 0, count: self.layerOf.count)
        for layer in self.layers.indices { self.note(layer, in: &places) }
        for _ in 0..<4 {
            for layer in self.layers.indices { self.sort(layer, by: self.before, places: &places) }
            for layer in self.layers.indices.reversed() { self.sort(layer, by: self.after, places: &places) }
        }
    }

    private mutating func sort(_ layer: Int, by joined: [[Int]], places: inout [Double]) {
        let slots = self.layers[layer]
        guard slots.count > 1 else { return }
        let wanted = slots.map { slot in
            joined[slot].isEmpty
                ? places[slot] : joined[slot].reduce(0) { $0 + places[$1] } / Double(joined[slot].count)
        }
        // The position breaks ties, so that the result is one and the same.
        self.layers[layer] = slots.indices.sorted { (wanted[$0], $0) < (wanted[$1], $1) }.map { slots[$0] }
        self.note(layer, in: &places)
    }

    private func note(_ layer: Int, in places: inout [Double]) {
        let slots = self.layers[layer]
        for (index, slot) in slots.enumerated() { places[slot] = (Double(index) + 0.5) / Double(slots.count) }
    }
}
