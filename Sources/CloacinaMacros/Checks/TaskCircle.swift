/// Tasks that wait for each other.
struct TaskCircle {
    /// The ids along the circle: each comes after the next one, and the first is repeated at the end.
    let path: [String]
    /// Where the first one says that it comes after the second.
    let name: NameLiteral

    /// The circle that holds the task declared first of all that are in one. A task that names itself is none.
    static func first(in tasks: [TaskDeclaration]) -> Self? {
        var needed: [String: [NameLiteral]] = [:]
        for task in tasks {
            guard let id = task.id?.text, needed[id] == nil else { continue }
            needed[id] = (task.dependencies ?? []).filter { $0.text != id }
        }
        let stuck = Self.stuck(needed)
        return tasks.lazy.compactMap(\.id?.text).filter(stuck.contains)
            .compactMap { Self.way(from: $0, along: needed) }.first
    }

    /// The ids that are in a circle or wait for one: what is left when all that wait for nothing are taken away, and again.
    private static func stuck(_ needed: [String: [NameLiteral]]) -> Set<String> {
        var dependents: [String: [String]] = [:]
        var unmet: [String: Int] = [:]
        for (id, names) in needed {
            let known = names.filter { needed[$0.text] != nil }
            for name in known { dependents[name.text, default: []].append(id) }
            unmet[id] = known.count
        }
        var free = unmet.filter { $0.value == 0 }.map(\.key)
        while let id = free.popLast() {
            unmet[id] = nil
            for dependent in dependents[id] ?? [] {
                let count = (unmet[dependent] ?? 0) - 1
                unmet[dependent] = count
                if count == 0 { free.append(dependent) }
            }
        }
        return Set(unmet.keys)
    }

    /// The shortest way that leads from a task back to it.
    private static func way(from start: String, along needed: [String: [NameLiteral]]) -> Self? {
        var cameFrom: [String: (id: String, name: NameLiteral)] = [:]
        var queue = [start]
        var next = 0
        while next < queue.count, cameFrom[start] == nil {
            let id = queue[next]
            next += 1
            for name in needed[id] ?? [] where cameFrom[name.text] == nil {
                cameFrom[name.text] = (id, name)
                queue.append(name.text)
            }
        }
        var path = [start]
        while let step = cameFrom[path[path.count - 1]] {
            path.append(step.id)
            if step.id == start { return Self(path: path.reversed(), name: step.name) }
        }
        return nil
    }
}
