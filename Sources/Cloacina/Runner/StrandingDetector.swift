import FoundationEssentials

/// Decides which pipelines are stranded, from looks at what is due and a runner can't take.
///
/// Another runner may take such a pipeline, as one of the version before does during a deployment. So it counts as stranded when
/// several looks, a sweep apart, have found it: two when the runner has the workflow in another version, ten when it doesn't have
/// the workflow, which another kind of process may serve.
struct StrandingDetector {
    private struct Known {
        var pipeline: StrandedPipeline
        var looks = 1
        /// Why the pipeline can't go on with the current version, once that was tried.
        var misfit: String?
    }

    private var known: [UUID: Known] = [:]
    private var reported = 0

    /// How many pipelines are stranded, as far as the last look has found them.
    var count: Int { self.known.values.count { $0.looks >= Self.looks(for: $0.pipeline.reason) } }

    /// Takes note of a look.
    ///
    /// - Returns: What is stranded, in the order of the look.
    mutating func look(_ found: [StrandedPipeline]) -> [StrandedPipeline] {
        let before = self.known
        self.known = [:]
        for pipeline in found {
            var entry = before[pipeline.id] ?? Known(pipeline: pipeline, looks: 0)
            if entry.pipeline.reason != pipeline.reason || entry.pipeline.version != pipeline.version {
                entry = Known(pipeline: pipeline, looks: 0)
            }
            entry.looks = min(entry.looks + 1, 1_000)
            self.known[pipeline.id] = entry
        }
        return found.filter { pipeline in
            self.known[pipeline.id].map { $0.looks >= Self.looks(for: pipeline.reason) } ?? false
        }
    }

    /// Takes note of what keeps a pipeline from going on with the current version, so that it is not read with each look.
    mutating func note(misfit: String, of id: UUID) { self.known[id]?.misfit = misfit }

    /// What keeps a pipeline from going on with the current version; nil when that was not tried.
    func misfit(of id: UUID) -> String? { self.known[id]?.misfit }

    /// Forgets a pipeline that goes on.
    mutating func forget(_ id: UUID) { self.known[id] = nil }

    /// Forgets why pipelines could not go on: other versions are known now.
    mutating func forgetMisfits() { for id in self.known.keys { self.known[id]?.misfit = nil } }

    /// How many more pipelines are stranded than at the last report, or fewer; nil when nothing has changed.
    mutating func report() -> Int? {
        let count = self.count
        defer { self.reported = count }
        return count == self.reported ? nil : count - self.reported
    }

    private static func looks(for reason: StrandedPipeline.Reason) -> Int { reason == .unknownWorkflow ? 10 : 2 }
}
