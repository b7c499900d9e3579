/// Who waits for whom, by position. Everything is computed with loops, so a chain of any length fits on the stack.
package struct TaskGraph: Sendable {
    /// For each task, what it waits for, in declared order and each once.
    package let dependencies: [[Int]]
    /// For each task, what waits for it, in declared order.
    package let dependents: [[Int]]
    /// The tasks by how many others are on the longest way to them, each level in declared order.
    package let levels: [[Int]]

    package init(dependencies: [[Int]]) {
        var dependents = [[Int]](repeating: [], count: dependencies.count)
        for (task, needed) in dependencies.enumerated() {
            for dependency in needed { dependents[dependency].append(task) }
        }
        var unmet = dependencies.map(\.count)
        var levels: [[Int]] = []
        var level = dependencies.indices.filter { unmet[$0] == 0 }
        while !level.isEmpty {
            levels.append(level)
            var next: [Int] = []
            for dependent in level.flatMap({ dependents[$0] }) {
                unmet[dependent] -= 1
                if unmet[dependent] == 0 { next.append(dependent) }
            }
            level = next.sorted()
        }
        self.dependencies = dependencies
        self.dependents = dependents
        self.levels = levels
    }

    package var count: Int { self.dependencies.count }

    /// The tasks that depend on nothing.
    package var roots: [Int] { self.dependencies.indices.filter { self.dependencies[$0].isEmpty } }

    /// The tasks that nothing depends on.
    package var leaves: [Int] { self.dependents.indices.filter { self.dependents[$0].isEmpty } }

    /// A way along dependencies that ends where it began; nil when every task found a level.
    var circle: [Int]? {
        let placed = Set(self.levels.joined())
        guard var task = self.dependencies.indices.first(where: { !placed.contains($0) }) else { return nil }
        var path: [Int] = []
        var seenAt: [Int: Int] = [:]
        while seenAt[task] == nil {
            seenAt[task] = path.count
            path.append(task)
            guard let next = self.dependencies[task].first(where: { !placed.contains($0) }) else { return nil }
            task = next
        }
        let circle = path[(seenAt[task] ?? 0)...]
        // Begin with the task declared first, so that one circle has one description.
        let start = circle.indices.min { circle[$0] < circle[$1] } ?? circle.startIndex
        return Array(circle[start...] + circle[...start])
    }

    /// Everything the given tasks wait for, directly or not, then each of them: dependencies first, in declared order.
    ///
    /// Applying each task's delta once in this order merges a context. What a later dependency brings comes after all that
    /// an earlier one brings, except where both build on the same task.
    package func ancestry(of tasks: [Int]) -> [Int] {
        var seen = TaskSet()
        return self.ancestry(of: tasks, adding: &seen)
    }

    /// The same without the tasks that a set has already; adds the others to it. What is in the set must be there with all that
    /// it waits for.
    package func ancestry(of tasks: [Int], adding seen: inout TaskSet) -> [Int] {
        var order: [Int] = []
        var stack: [(task: Int, next: Int)] = []
        for task in tasks where seen.insert(task) {
            stack.append((task, 0))
            while let (current, next) = stack.last {
                if next == self.dependencies[current].count {
                    order.append(current)
                    stack.removeLast()
                } else {
                    stack[stack.count - 1].next += 1
                    let dependency = self.dependencies[current][next]
                    if seen.insert(dependency) { stack.append((dependency, 0)) }
                }
            }
        }
        return order
    }

    /// Everything that waits for a task, directly or not, without the task, in declared order.
    package func descendants(of task: Int) -> [Int] {
        var seen: Set<Int> = []
        var pending = self.dependents[task]
        while let next = pending.popLast() {
            if seen.insert(next).inserted { pending += self.dependents[next] }
        }
        return seen.sorted()
    }
}
