import FoundationEssentials

/// Decides which pipelines are stranded, from looks at what is due and a runner can't take.
///
/// Another runner may take such a pipeline, as one of the version before does during a deployment. So it counts as stranded when
/// looks that are sweeps apart have found it: two when the runner has the workflow in another version, the second of them nine
/// sweeps later when it doesn't have the workflow, which another kind of process may serve.
///
/// A look reads a part of the queue only. It stays with that part until nothing there can go on any more, and goes on to the next
/// one then, so that what can't go on keeps nothing behind it from being looked at; after the last part it begins anew.
struct StrandingDetector {
    private struct Known {
        var pipeline: StrandedPipeline
        /// The numbers of the looks that found it first and last.
        var first: Int
        var last: Int
        /// When, in rounds through the queue, it was found last.
        var round: Int
        /// Why the pipeline can't go on with the current version, once that was tried.
        var misfit: String?

        var isStranded: Bool { self.last - self.first >= (self.pipeline.reason == .unknownWorkflow ? 9 : 1) }
    }

    /// The number of pipelines that are remembered. Of more, those of the last look are.
    static let limit = 10_000

    private var known: [UUID: Known] = [:]
    private var reported = 0
    private var looks = 0
    private var rounds = 0
    /// The end of the part that was looked at; nil when it is the last.
    private var end: StrandedPlace?

    /// After which place to look next; nil from the start.
    private(set) var place: StrandedPlace?

    /// The number of pipelines that are stranded, as far as looks have found them.
    private(set) var count = 0

    /// Takes note of a look at what follows ``place``.
    ///
    /// - Returns: What is stranded, in the order of the look.
    mutating func look(_ page: StrandedPage) -> [StrandedPipeline] {
        self.looks = min(self.looks + 1, .max - 1)
        self.end = page.next
        for pipeline in page.pipelines {
            var entry = self.known[pipeline.id]
            if entry?.pipeline.reason != pipeline.reason || entry?.pipeline.version != pipeline.version { entry = nil }
            self.known[pipeline.id] = Known(
                pipeline: pipeline, first: entry?.first ?? self.looks, last: self.looks, round: self.rounds,
                misfit: entry?.misfit)
        }
        self.forgetVanished()
        self.count = self.known.values.count { $0.isStranded }
        return page.pipelines.filter { self.known[$0.id]?.isStranded ?? false }
    }

    /// Forgets what is not there any more, once everything was looked at, and what is more than is remembered.
    private mutating func forgetVanished() {
        if self.end == nil {
            self.known =
                self.place == nil
                ? self.known.filter { $0.value.last == self.looks }
                : self.known.filter { $0.value.round == self.rounds }
        }
        var excess = self.known.count - Self.limit
        guard excess > 0 else { return }
        for (id, entry) in self.known where excess > 0 && entry.last != self.looks {
            self.known[id] = nil
            excess -= 1
        }
    }

    /// Goes on to the next part: in this one nothing is left to be done.
    mutating func moveOn() {
        self.place = self.end
        if self.place == nil { self.rounds = min(self.rounds + 1, .max - 1) }
    }

    /// Takes note of what keeps a pipeline from going on with the current version, so that it is not read with each look.
    mutating func note(misfit: String, of id: UUID) { self.known[id]?.misfit = misfit }

    /// What keeps a pipeline from going on with the current version; nil when that was not tried.
    func misfit(of id: UUID) -> String? { self.known[id]?.misfit }

    /// Forgets a pipeline that goes on.
    mutating func forget(_ id: UUID) {
        if self.known.removeValue(forKey: id)?.isStranded == true { self.count -= 1 }
    }

    /// Forgets everything: nobody looks any more.
    mutating func forgetAll() { (self.known, self.count, self.place, self.end) = ([:], 0, nil, nil) }

    /// Forgets why pipelines could not go on, and looks from the start: other versions are known now.
    mutating func forgetMisfits() {
        for id in self.known.keys { self.known[id]?.misfit = nil }
        self.place = nil
    }

    /// How many more pipelines are stranded than at the last report, or fewer; nil when nothing has changed.
    mutating func report() -> Int? {
        defer { self.reported = self.count }
        return self.count == self.reported ? nil : self.count - self.reported
    }
}
