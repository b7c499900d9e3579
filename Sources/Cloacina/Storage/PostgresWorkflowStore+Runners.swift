import CloacinaPostgres
package import FoundationEssentials

/// The words between runners, and the looks at each other and at the queue.
extension PostgresWorkflowStore {
    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.run([PostgresWorkflowQueries.ask(request, of: id)]) { _ in }
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        var queries = [PostgresWorkflowQueries.beat(runner, number: number, isStopping: isStopping, at: at)]
        if !pipelines.isEmpty { queries.append(PostgresWorkflowQueries.requests(of: runner, pipelines)) }
        return try await self.run(queries, within: Self.patience) { results in
            var answer = BeatAnswer()
            for row in results.dropFirst().joined() {
                let id: UUID = try row.value("id")
                answer.held.insert(id)
                answer.requests[id] = try Self.request(of: row)
            }
            return answer
        }
    }

    package func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        let begun = ContinuousClock.now
        let known = [PostgresWorkflowQueries.runners(everyOwner: everyOwner)]
        var (survey, isWaiting) = try await self.run(known, within: Self.patience) { results in
            var (survey, isWaiting) = (QueueSurvey(beats: [:]), false)
            for row in results[0] {
                let number: Int? = try row.value("number")
                guard let id = try row.value("id", as: UUID?.self) else {
                    isWaiting = number != nil
                    continue
                }
                if let request = try Self.request(of: row) {
                    survey.unheard[id] = request
                } else {
                    survey.beats[id] = number
                }
            }
            return (survey, isWaiting)
        }
        guard isWaiting else { return survey }
        (survey.isDue, survey.nextDue) = try await self.run(
            [PostgresWorkflowQueries.queue(at: at, byServersClock: self.followsServersClock)], within: Self.patience
        ) { results in
            guard let row = results[0].first else { return (false, nil) }
            return (try row.value("is_due"), try row.value("due_at"))
        }
        // Reckoned from a time that has passed meanwhile: whoever looked before it is due would find nothing, and not look again.
        if self.followsServersClock { survey.nextDue?.addTimeInterval(begun.duration(to: .now).seconds) }
        return survey
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        let end = ContinuousClock.now.advanced(by: Self.patience)
        var (recovered, number, wasStopping) = (0, beats, false)
        while true {
            let limit = self.recoveries.limit
            do throws(PipelineError) {
                let part = try await self.recover(
                    runner, beats: number, wasStopping: wasStopping, by: rescuer, at: at, limit: limit)
                let count = part.count
                wasStopping = part.wasStopping
                self.recoveries.wasDone(count)
                recovered += count
                // It is known no longer, so those that are left have an owner that never said anything.
                number = 0
                guard count >= limit, .now < end else { return recovered }
            } catch {
                // What takes too long at once is done in smaller parts, by this sweep or the next.
                if error.isOverdue { self.recoveries.tookTooLong() }
                guard recovered > 0 else { throw error }
                return recovered
            }
        }
    }

    private func recover(
        _ runner: UUID, beats: Int, wasStopping: Bool, by rescuer: UUID, at: Date, limit: Int
    ) async throws(PipelineError) -> (count: Int, wasStopping: Bool) {
        let mark = UUID()
        let queries = [
            PostgresWorkflowQueries.takeOver(runner, beats: beats, as: mark, limit: limit),
            PostgresWorkflowQueries.recover(
                runner, beats: beats, wasStopping: wasStopping, by: rescuer, takenAs: mark, at: at),
        ]
        return try await self.run(queries, within: Self.patience) { results in
            guard let row = results[1].first else { return (0, wasStopping) }
            return (try row.value("recovered"), try row.value("was_stopping"))
        }
    }

    package func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        let question = PostgresWorkflowQueries.claims(of: runner, includingCreated: includingCreated)
        return try await self.run([question], within: Self.patience) { results in
            var claims: [UUID: Int] = [:]
            for row in results[0] { claims[try row.value("id")] = try row.value("epoch", as: Int.self) }
            return claims
        }
    }

    /// Writes a heartbeat of nobody's and takes it back, in one transaction: one that writes nothing would be committed though no
    /// heartbeat is, where the server waits for a standby.
    package func checkWritable() async throws(PipelineError) {
        let nobody = UUID.version7()
        let statements = [
            PostgresWorkflowQueries.beat(nobody, number: 1, isStopping: false, at: Date()),
            PostgresWorkflowQueries.leave(nobody),
        ]
        try await self.run(statements, within: Self.patience) { _ in }
    }

    package func leave(_ runner: UUID) async throws(PipelineError) {
        try await self.run([PostgresWorkflowQueries.leave(runner)], within: Self.patience) { _ in }
    }
}
