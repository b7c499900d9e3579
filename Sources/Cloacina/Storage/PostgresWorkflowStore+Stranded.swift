import CloacinaPostgres
package import FoundationEssentials

/// The pipelines that wait and nobody takes.
extension PostgresWorkflowStore {
    package func stranded(
        _ claim: QueueClaim, dueBefore: Date, limit: Int
    ) async throws(PipelineError) -> [StrandedPipeline] {
        let queries = [
            PostgresWorkflowQueries.byIndexes,
            PostgresWorkflowQueries.stranded(
                claim, dueBefore: dueBefore, limit: limit, byServersClock: self.followsServersClock),
        ]
        return try await self.run(queries, within: Self.patience) { results in
            try results[1].compactMap { try Self.stranded($0, for: claim) }
        }
    }

    package func strandedPage(
        _ claim: QueueClaim, dueBefore: Date, after place: StrandedPlace?, limit: Int
    ) async throws(PipelineError) -> StrandedPage {
        let limit = min(max(1, limit), StoredLimits.surveyRows)
        let queries = [
            PostgresWorkflowQueries.byIndexes,
            PostgresWorkflowQueries.strandedPage(claim, after: place ?? .start, limit: limit),
            PostgresWorkflowQueries.serversTime,
        ]
        return try await self.run(queries, within: Self.patience) { [followsServersClock] results in
            let dueBefore = followsServersClock ? try results[2].single(as: Date.self) : dueBefore
            var page = StrandedPage()
            for row in results[1] {
                if let found = try Self.stranded(row, for: claim), found.dueAt <= dueBefore {
                    page.pipelines.append(found)
                }
            }
            guard results[1].count == limit, let last = results[1].last else { return page }
            page.next = StrandedPlace(
                format: try last.value("format"), lane: try last.value("lane"), priority: try last.value("priority"),
                dueAt: try last.value("due_at"), id: try last.value("id"))
            return page
        }
    }

    /// The pipelines that nobody has taken for longer than a number of seconds, in groups of one workflow and one version, those first that have
    /// waited longest. Runners don't store what they can take, so nobody's absence is told from everybody's being busy.
    package func waiting(
        longerThan seconds: Int, workflow: String? = nil, limit: Int
    ) async throws(PipelineError) -> [WaitingGroup] {
        let queries = [
            PostgresWorkflowQueries.byIndexes,
            PostgresWorkflowQueries.waiting(longerThan: seconds, workflow: workflow, limit: limit),
        ]
        return try await self.run(queries) { results in
            try results[1].map { row in
                let number = Int(clamping: try row.value("number", as: Int64.self))
                return WaitingGroup(
                    workflow: try row.value("workflow"), version: try row.value("version"),
                    format: try row.value("format"), count: min(number, WaitingGroup.limit),
                    hasMore: number > WaitingGroup.limit, since: try row.value("since"),
                    longest: try row.value("longest"))
            }
        }
    }

    /// A pipeline that waits and a claim doesn't take; nil when it may.
    private static func stranded(_ row: PostgresRow, for claim: QueueClaim) throws -> StrandedPipeline? {
        let (workflow, version): (String, String) = (try row.value("workflow"), try row.value("version"))
        let reason = claim.obstacle(
            workflow: workflow, version: version, hasBegun: try row.value("has_begun"), format: try row.value("format"))
        return try reason.map { reason in
            StrandedPipeline(
                id: try row.value("id"), workflow: workflow, version: version, reason: reason,
                createdAt: try row.value("created_at"), dueAt: try row.value("due_at"))
        }
    }
}
