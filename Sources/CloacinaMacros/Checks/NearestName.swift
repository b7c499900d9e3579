/// Finds what someone probably meant to type.
enum NearestName {
    /// The name that the fewest characters have to be taken from and added to, when that is at most a third of them.
    static func nearest(to name: String, in names: [String]) -> String? {
        let wanted = Array(name.lowercased())
        let limit = 2 * max(1, wanted.count / 3)
        guard (1...64).contains(wanted.count) else { return nil }
        return names.lazy
            .filter { abs($0.count - wanted.count) <= limit }
            .map { (name: $0, distance: Array($0.lowercased()).difference(from: wanted).count) }
            .filter { $0.distance <= limit }
            .min { $0.distance < $1.distance }?.name
    }
}
