-- Tables of the time-zone example: the zones of zone1970.tab, and the countries that each of them overlaps.
-- migrate:up
CREATE TABLE time_zones (
    name text PRIMARY KEY,
    latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    comments text
);

CREATE TABLE country_zones (
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    zone text NOT NULL REFERENCES time_zones (name) ON DELETE CASCADE,
    is_principal boolean NOT NULL,
    PRIMARY KEY (country, zone)
);

CREATE INDEX country_zones_zone ON country_zones (zone);

-- migrate:down
DROP TABLE country_zones;

DROP TABLE time_zones;

-- migrate:verify
SELECT to_regclass('time_zones') IS NOT NULL AND to_regclass('country_zones') IS NOT NULL;
