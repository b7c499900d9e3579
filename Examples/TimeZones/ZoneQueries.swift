import CloacinaPostgres

/// The statements that make a tenant's tables equal to a ``ZoneTable``, however often they run.
///
/// The tables' names carry no schema: the lease's label decides whose tables they are.
enum ZoneQueries {
    /// Four statements for one pipeline; the first and the third report the rows they wrote.
    static func replace(with table: ZoneTable) -> [PostgresStatement] {
        [
            self.upsertZones(table.zones), self.deleteOtherZones(table.zones),
            self.upsertCountryZones(table.countryZones), self.deleteOtherCountryZones(table.countryZones),
        ]
    }

    private static func upsertZones(_ zones: [TimeZoneRow]) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO time_zones (name, latitude, longitude, comments)
            SELECT * FROM unnest($1::text[], $2::double precision[], $3::double precision[], $4::text[])
            ON CONFLICT (name) DO UPDATE
            SET latitude = excluded.latitude, longitude = excluded.longitude, comments = excluded.comments
            """,
            [
                .textArray(zones.map(\.name)), .doubleArray(zones.map(\.latitude)),
                .doubleArray(zones.map(\.longitude)), .optionalTextArray(zones.map(\.comments)),
            ])
    }

    private static func deleteOtherZones(_ zones: [TimeZoneRow]) -> PostgresStatement {
        PostgresStatement("DELETE FROM time_zones WHERE name <> ALL ($1::text[])", [.textArray(zones.map(\.name))])
    }

    private static func upsertCountryZones(_ rows: [CountryZoneRow]) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO country_zones (country, zone, is_principal)
            SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[])
            ON CONFLICT (country, zone) DO UPDATE SET is_principal = excluded.is_principal
            """,
            [
                .textArray(rows.map(\.country)), .textArray(rows.map(\.zone)), .boolArray(rows.map(\.isPrincipal)),
            ])
    }

    private static func deleteOtherCountryZones(_ rows: [CountryZoneRow]) -> PostgresStatement {
        PostgresStatement(
            """
            DELETE FROM country_zones AS present
            WHERE NOT EXISTS (
                SELECT FROM unnest($1::text[], $2::text[]) AS wanted (country, zone)
                WHERE wanted.country = present.country AND wanted.zone = present.zone
            )
            """,
            [.textArray(rows.map(\.country)), .textArray(rows.map(\.zone))])
    }
}
